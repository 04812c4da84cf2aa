#include "trainer/parity/golden_case.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

#include "moe/model/families/olmoe.h"
#include "moe/model/micro_batch.h"
#include "trainer/checkpoint/tensor_folder.h"
#include "trainer/config/model_file.h"
#include "trainer/config/read_config.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

std::map<std::string, at::Tensor> read_all(const TensorFolder& folder) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, place] : folder.places()) {
    const auto& stored = *folder.find(name);
    const auto type = to_scalar_type(stored.type);
    if (!type) {
      throw ExitError(ExitCode::kBadFile, fmt::format("tensor {} has type {}, which cannot be read",
                                                      name, tensor_type_name(stored.type)));
    }
    auto tensor = at::empty(stored.shape, *type);
    folder.read(name, 0, tensor.mutable_data_ptr(), stored.num_bytes);
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

std::map<std::string, at::Tensor> read_if_there(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    return {};
  }
  return read_all(TensorFolder::open_file(path));
}

// Without a moe.yaml: transformers' own loss, if the case has one (tests/golden/README.md).
moe::MoeOptions default_options(const GoldenCase& golden) {
  moe::MoeOptions options;
  options.load_balance.coef = 0.0;
  options.router_z_loss_coef.reset();
  if (golden.find("aux_loss").defined()) {
    options.load_balance.formula = moe::BalanceFormula::kHuggingFace;
    options.load_balance.scope = moe::BalanceScope::kGlobal;
    options.load_balance.coef = golden.model.router_aux_loss_coef;
  }
  return options;
}

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& rule) {
  throw ExitError(ExitCode::kBadFile, file.string() + ": " + rule);
}

void check_shape(const std::filesystem::path& file, const std::string& name,
                 const at::Tensor& tensor, at::IntArrayRef shape) {
  if (tensor.sizes() != shape) {
    refuse(file, fmt::format("{} must have the shape [{}], has [{}]", name, fmt::join(shape, ", "),
                             fmt::join(tensor.sizes(), ", ")));
  }
}

void check_range(const std::filesystem::path& file, const std::string& name,
                 const at::Tensor& values, int64_t end) {
  const auto bad = values.masked_select(values.lt(0).logical_or(values.ge(end)));
  if (bad.numel() > 0) {
    refuse(file, fmt::format("{} must be in [0, {}), holds {}", name, end, bad[0].item<int64_t>()));
  }
}

void check_reference(const GoldenCase& golden, const std::filesystem::path& file) {
  for (const char* name : {"input_ids", "labels"}) {
    const auto tensor = golden.find(name);
    if (!tensor.defined() || tensor.dim() != 2 || tensor.scalar_type() != at::kLong) {
      refuse(file, fmt::format("needs {} as int64 [sequences, positions]", name));
    }
  }
  const auto input_ids_BS = golden.find("input_ids");
  const auto labels_BS = golden.find("labels");
  check_shape(file, "labels", labels_BS, input_ids_BS.sizes());
  check_range(file, "input_ids", input_ids_BS, golden.model.vocab_size);
  check_range(file, "labels", labels_BS.masked_select(labels_BS.ne(moe::kIgnoredTarget)),
              golden.model.vocab_size);
  if (const auto logits = golden.find("logits"); logits.defined()) {
    check_shape(file, "logits", logits,
                {input_ids_BS.size(0), input_ids_BS.size(1), golden.model.vocab_size});
  }
  if (const auto dropped = golden.find("dropped_per_layer"); dropped.defined()) {
    check_shape(file, "dropped_per_layer", dropped, {golden.model.num_hidden_layers});
  }
  for (const char* name : {"loss", "aux_loss", "z_loss", "grad_norm"}) {
    if (const auto value = golden.find(name); value.defined() && value.numel() != 1) {
      refuse(file, fmt::format("{} must be one number, has {}", name, value.numel()));
    }
  }
}

// Every tensor of the file is one of the model's, with its shape.
void check_model_tensors(const GoldenCase& golden, const std::map<std::string, at::Tensor>& tensors,
                         const std::filesystem::path& file) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& tensor : moe::olmoe_hub_tensors(golden.model)) {
    shapes.emplace(tensor.name, tensor.shape);
  }
  for (const auto& [name, tensor] : tensors) {
    const auto expected = shapes.find(name);
    if (expected == shapes.end()) {
      refuse(file, name + " is no tensor of the model in config.json");
    }
    check_shape(file, name, tensor, expected->second);
  }
}

}  // namespace

at::Tensor GoldenCase::find(const std::string& name) const {
  const auto found = reference.find(name);
  return found == reference.end() ? at::Tensor() : found->second;
}

GoldenCase read_golden_case(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw ExitError(ExitCode::kNoInput, folder.string() + " is not a folder");
  }
  GoldenCase golden;
  golden.model = read_model_config(folder / "config.json");
  golden.weights = read_all(TensorFolder::open_weights(folder));
  golden.gradients = read_if_there(folder / "gradients.safetensors");
  golden.final_weights = read_if_there(folder / "final.safetensors");
  golden.reference = read_if_there(folder / "reference.safetensors");
  check_reference(golden, folder / "reference.safetensors");
  check_model_tensors(golden, golden.gradients, folder / "gradients.safetensors");
  check_model_tensors(golden, golden.final_weights, folder / "final.safetensors");
  const auto moe_yaml = folder / "moe.yaml";
  golden.moe =
      std::filesystem::exists(moe_yaml) ? read_moe_section(moe_yaml, {}) : default_options(golden);
  return golden;
}

at::Tensor shifted_targets(const at::Tensor& labels_BS) {
  auto targets_BS = at::full_like(labels_BS, moe::kIgnoredTarget);
  const int64_t length = labels_BS.size(1);
  targets_BS.narrow(1, 0, length - 1).copy_(labels_BS.narrow(1, 1, length - 1));
  return targets_BS;
}

}  // namespace moesaic::trainer
