#include "trainer/model_checkpoint.h"

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/grad_mode.h>

#include "moe/model/families/olmoe.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/config/model_file.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

constexpr const char* kFirstMoment = "exp_avg.";
constexpr const char* kSecondMoment = "exp_avg_sq.";

/// A contiguous run of elements of a logical tensor in this rank's memory.
struct TensorPiece {
  std::string name;
  std::vector<int64_t> shape;  ///< of the whole logical tensor
  int64_t tensor_offset = 0;   ///< elements
  at::Tensor memory;           ///< flat view
  at::Tensor on_host;          ///< `memory` itself, or a copy of it where that is on a GPU
  const parallel::ParameterGroup* group = nullptr;
};

// Weights and, if asked for, both moments of every parameter of this rank.
std::vector<TensorPiece> local_pieces(TrainingState& state, bool with_moments) {
  std::vector<TensorPiece> pieces;
  auto& store = state.store();
  for (const auto& parameter : state.model().parameters()) {
    const auto& entry = store.entry(parameter.spec.name);
    const auto& group = store.groups()[entry.group_idx];
    const auto add = [&](const std::string& prefix, const at::Tensor& flat) {
      for (const auto& slice : parameter.slices) {
        const auto memory = flat.narrow(0, entry.offset + slice.parameter_offset, slice.numel);
        pieces.push_back({prefix + slice.tensor.name, slice.tensor.shape, slice.tensor_offset,
                          memory, memory.to(at::kCPU), &group});
      }
    };
    add("", group.values);
    if (with_moments) {
      add(kFirstMoment, state.optimizer().exp_avg()[entry.group_idx]);
      add(kSecondMoment, state.optimizer().exp_avg_sq()[entry.group_idx]);
    }
  }
  return pieces;
}

/// Every tensor of a checkpoint, from the model alone.
struct LogicalTensors {
  std::vector<LogicalTensor> weights;
  std::vector<LogicalTensor> moments;
};

LogicalTensors logical_tensors(TrainingState& state) {
  const auto type = to_tensor_type(state.store().groups().front().values.scalar_type());
  LogicalTensors tensors;
  for (const auto& tensor : moe::olmoe_hub_tensors(state.model().config())) {
    tensors.weights.push_back({tensor.name, type, tensor.shape});
    tensors.moments.push_back({kFirstMoment + tensor.name, type, tensor.shape});
    tensors.moments.push_back({kSecondMoment + tensor.name, type, tensor.shape});
  }
  return tensors;
}

// Of the replicas of a piece exactly one writes it; they take turns, so that all disks' queues
// work. Counted for each group: ranks may own different numbers of experts, but the replicas of a
// group have the same pieces of it.
std::vector<TensorBytes> owned_bytes(const std::vector<TensorPiece>& pieces) {
  std::vector<TensorBytes> bytes;
  std::map<const parallel::ParameterGroup*, int64_t> turns;
  for (const auto& piece : pieces) {
    const auto& replicas = *piece.group->replicas;
    if (turns[piece.group]++ % replicas.size() == replicas.rank()) {
      const auto element_bytes = static_cast<int64_t>(piece.memory.element_size());
      bytes.push_back({piece.name, piece.tensor_offset * element_bytes,
                       piece.on_host.const_data_ptr(), piece.memory.numel() * element_bytes});
    }
  }
  return bytes;
}

// The weights of a foreign folder may be of any floating type; names and shapes must agree.
std::vector<LogicalTensor> expected_weights(const moe::LanguageModel& model,
                                            const TensorFolder& folder,
                                            const std::filesystem::path& path) {
  std::vector<LogicalTensor> expected;
  for (const auto& tensor : moe::olmoe_hub_tensors(model.config())) {
    const auto* found = folder.find(tensor.name);
    const auto type = found != nullptr ? found->type : TensorType::kF32;
    const auto scalar_type = to_scalar_type(type);
    if (!scalar_type || !at::isFloatingType(*scalar_type)) {
      throw ExitError(ExitCode::kBadFile,
                      fmt::format("{}: tensor {} has type {}, not a floating type that can be read",
                                  path.string(), tensor.name, tensor_type_name(type)));
    }
    expected.push_back({tensor.name, type, tensor.shape});
  }
  return expected;
}

}  // namespace

SavedCheckpoint save_training_checkpoint(TrainingState& state, const RunState& run,
                                         const Config& config,
                                         const std::filesystem::path& checkpoints,
                                         const SaveOptions& options) {
  const auto tensors = logical_tensors(state);
  const CheckpointPlan plan(tensors.weights, tensors.moments);
  SaveRequest request;
  request.checkpoints = checkpoints;
  request.step = run.step;
  request.plan = &plan;
  request.documents = checkpoint_documents(run, config);
  const auto pieces = local_pieces(state, /*with_moments=*/true);
  request.bytes = owned_bytes(pieces);
  request.keep_last = config.checkpoint.keep_last;
  request.known_invalid = options.known_invalid;
  if (auto* fault = options.fault) {
    request.operations = fault->file_operations();
    request.at_phase = [fault, &run](const char* phase) { fault->reach(phase, run.step); };
  }
  return save_checkpoint(*state.mesh().world(), request);
}

void load_training_checkpoint(TrainingState& state, const RunState& run,
                              const std::filesystem::path& folder) {
  auto tensors = logical_tensors(state);
  auto& expected = tensors.weights;
  expected.insert(expected.end(), tensors.moments.begin(), tensors.moments.end());
  const auto pieces = local_pieces(state, /*with_moments=*/true);
  std::vector<TensorDestination> destinations;
  for (const auto& piece : pieces) {
    const auto element_bytes = static_cast<int64_t>(piece.memory.element_size());
    destinations.push_back({piece.name, piece.tensor_offset * element_bytes,
                            piece.on_host.mutable_data_ptr(),
                            piece.memory.numel() * element_bytes});
  }
  load_checkpoint(*state.mesh().world(), folder, expected, destinations);
  for (const auto& piece : pieces) {
    if (!piece.on_host.is_same(piece.memory)) {
      piece.memory.copy_(piece.on_host);
    }
  }
  state.optimizer().set_num_updates(run.num_updates);
}

void load_weights(moe::LanguageModel& model, const std::filesystem::path& path) {
  const at::NoGradGuard no_grad;
  const auto folder = TensorFolder::open_weights(path);
  check_tensors(folder, expected_weights(model, folder, path), path.string(), ExitCode::kBadFile);
  for (const auto& parameter : model.parameters()) {
    const auto flat = parameter.spec.tensor->detach().flatten();
    for (const auto& slice : parameter.slices) {
      const auto type = *to_scalar_type(folder.find(slice.tensor.name)->type);
      const auto stored = at::empty({slice.numel}, type);
      const auto element_bytes = static_cast<int64_t>(stored.element_size());
      folder.read(slice.tensor.name, slice.tensor_offset * element_bytes, stored.mutable_data_ptr(),
                  slice.numel * element_bytes);
      flat.narrow(0, slice.parameter_offset, slice.numel).copy_(stored);
    }
  }
}

std::unique_ptr<moe::LanguageModel> load_model(const std::filesystem::path& folder,
                                               const Config& config,
                                               const parallel::DeviceMesh& mesh,
                                               at::Device device) {
  const auto model_config = read_model_config(folder / "config.json");
  if (model_config.num_experts < mesh.group("expert")->size()) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("parallel.expert: {} ranks cannot share {} experts",
                                mesh.group("expert")->size(), model_config.num_experts));
  }
  auto model = moe::build_olmoe(model_config, {.mesh = mesh,
                                               .moe = config.moe,
                                               .dtype = parameter_dtype(config),
                                               .device = device,
                                               .seed = static_cast<uint64_t>(config.trainer.seed),
                                               .force_balance = config.debug.force_balance,
                                               .fault = nullptr});
  load_weights(*model, folder);
  return model;
}

}  // namespace moesaic::trainer
