#include "trainer/parity/golden_case.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

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
  options.load_balance.formula = moe::BalanceFormula::kHuggingFace;
  options.load_balance.scope = moe::BalanceScope::kGlobal;
  options.load_balance.coef =
      golden.find("aux_loss").defined() ? golden.model.router_aux_loss_coef : 0.0;
  options.router_z_loss_coef.reset();
  return options;
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
  for (const char* name : {"input_ids", "labels"}) {
    const auto tensor = golden.find(name);
    if (!tensor.defined() || tensor.dim() != 2 || tensor.scalar_type() != at::kLong) {
      throw ExitError(
          ExitCode::kBadFile,
          fmt::format("{}: reference.safetensors needs {} as int64 [sequences, positions]",
                      folder.string(), name));
    }
  }
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
