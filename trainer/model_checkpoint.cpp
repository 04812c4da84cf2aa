#include "trainer/model_checkpoint.h"

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <nlohmann/json.hpp>

#include "moe/model/families/olmoe.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/config/model_file.h"
#include "trainer/data/byte_tokenizer.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFirstMoment = "exp_avg.";
constexpr const char* kSecondMoment = "exp_avg_sq.";
constexpr const char* kTrainerJson = "trainer.json";
constexpr int64_t kTrainerJsonVersion = 1;

/// A contiguous run of elements of a logical tensor in this rank's memory.
struct TensorPiece {
  std::string name;
  std::vector<int64_t> shape;  ///< of the whole logical tensor
  int64_t tensor_offset = 0;   ///< elements
  at::Tensor memory;           ///< flat view
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
        pieces.push_back({prefix + slice.tensor.name, slice.tensor.shape, slice.tensor_offset,
                          flat.narrow(0, entry.offset + slice.parameter_offset, slice.numel),
                          &group});
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
std::vector<TensorBytes> owned_bytes(TrainingState& state) {
  std::vector<TensorBytes> bytes;
  std::map<const parallel::ParameterGroup*, int64_t> turns;
  for (const auto& piece : local_pieces(state, /*with_moments=*/true)) {
    const auto& replicas = *piece.group->replicas;
    if (turns[piece.group]++ % replicas.size() == replicas.rank()) {
      const auto element_bytes = static_cast<int64_t>(piece.memory.element_size());
      bytes.push_back({piece.name, piece.tensor_offset * element_bytes,
                       piece.memory.const_data_ptr(), piece.memory.numel() * element_bytes});
    }
  }
  return bytes;
}

std::string trainer_json(const RunState& run) {
  return ordered_json{{"format_version", kTrainerJsonVersion},
                      {"step", run.step},
                      {"tokens", run.num_tokens},
                      {"num_updates", run.num_updates},
                      {"skipped_in_a_row", run.skipped_in_a_row},
                      {"data_fingerprint", run.data_fingerprint},
                      {"configuration", run.configuration}}
             .dump(2) +
         "\n";
}

RunState parse_trainer_json(const std::string& text, const std::filesystem::path& folder) {
  const auto label = (folder / kTrainerJson).string();
  try {
    const auto json = ordered_json::parse(text);
    if (json.at("format_version").get<int64_t>() != kTrainerJsonVersion) {
      throw ExitError(ExitCode::kStorage, label + ": written by another version of moesaic");
    }
    RunState run;
    run.step = json.at("step").get<int64_t>();
    run.num_tokens = json.at("tokens").get<int64_t>();
    run.num_updates = json.at("num_updates").get<int64_t>();
    run.skipped_in_a_row = json.at("skipped_in_a_row").get<int64_t>();
    run.data_fingerprint = json.at("data_fingerprint").get<std::string>();
    run.configuration = json.at("configuration").get<std::string>();
    return run;
  } catch (const ordered_json::exception& error) {
    throw ExitError(ExitCode::kStorage, label + ": " + error.what());
  }
}

std::string generation_config_json(const moe::ModelConfig& model) {
  ordered_json json = {{"_from_model_config", true}};
  if (model.eos_token_id.size() == 1) {
    json["eos_token_id"] = model.eos_token_id[0];
  } else if (!model.eos_token_id.empty()) {
    json["eos_token_id"] = model.eos_token_id;
  }
  if (model.pad_token_id) {
    json["pad_token_id"] = *model.pad_token_id;
  }
  return json.dump(2) + "\n";
}

std::vector<Document> documents(const RunState& run, const Config& config) {
  std::vector<Document> result = {
      {"config.json", model_config_json(config.model.config)},
      {"generation_config.json", generation_config_json(config.model.config)},
      {kTrainerJson, trainer_json(run)}};
  // The built-in tokenizer fits every vocabulary that has room for it.
  if (config.model.config.vocab_size >= kByteVocabSize) {
    result.push_back({"tokenizer.json", byte_tokenizer_json()});
    result.push_back({"tokenizer_config.json",
                      byte_tokenizer_config_json(config.model.config.max_position_embeddings)});
  }
  return result;
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
                                         const std::filesystem::path& checkpoints) {
  const auto tensors = logical_tensors(state);
  const CheckpointPlan plan(tensors.weights, tensors.moments);
  SaveRequest request;
  request.checkpoints = checkpoints;
  request.step = run.step;
  request.plan = &plan;
  request.documents = documents(run, config);
  request.bytes = owned_bytes(state);
  request.keep_last = config.checkpoint.keep_last;
  return save_checkpoint(*state.mesh().world(), request);
}

RunState load_training_checkpoint(TrainingState& state, const std::filesystem::path& folder) {
  auto tensors = logical_tensors(state);
  auto& expected = tensors.weights;
  expected.insert(expected.end(), tensors.moments.begin(), tensors.moments.end());
  std::vector<TensorDestination> destinations;
  for (const auto& piece : local_pieces(state, /*with_moments=*/true)) {
    const auto element_bytes = static_cast<int64_t>(piece.memory.element_size());
    destinations.push_back({piece.name, piece.tensor_offset * element_bytes,
                            piece.memory.mutable_data_ptr(), piece.memory.numel() * element_bytes});
  }
  auto& world = *state.mesh().world();
  load_checkpoint(world, folder, expected, destinations);
  auto run = parse_trainer_json(read_document(world, folder, kTrainerJson), folder);
  state.optimizer().set_num_updates(run.num_updates);
  return run;
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
                                               const parallel::DeviceMesh& mesh) {
  const auto model_config = read_model_config(folder / "config.json");
  if (model_config.num_experts < mesh.group("expert")->size()) {
    throw ExitError(ExitCode::kConfiguration,
                    fmt::format("parallel.expert: {} ranks cannot share {} experts",
                                mesh.group("expert")->size(), model_config.num_experts));
  }
  auto model = moe::build_olmoe(model_config, {.mesh = mesh,
                                               .moe = config.moe,
                                               .dtype = parameter_dtype(config),
                                               .seed = static_cast<uint64_t>(config.trainer.seed),
                                               .force_balance = config.debug.force_balance,
                                               .fault = nullptr});
  load_weights(*model, folder);
  return model;
}

}  // namespace moesaic::trainer
