#include "trainer/parity/comparison.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

namespace moesaic::trainer {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// JSON has neither NaN nor infinity: null stands for both.
double number_of(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

}  // namespace

double Comparison::used() const {
  if (!std::isfinite(difference) || !std::isfinite(bound)) {
    return kInfinity;
  }
  if (difference == 0.0) {
    return 0.0;
  }
  return bound > 0.0 ? difference / bound : kInfinity;
}

void Comparison::include(const std::string& entry, double entry_difference, double entry_bound) {
  const Comparison candidate{quantity, entry, entry_difference, entry_bound, true, of_tensors};
  if (!compared || candidate.used() > used()) {
    worst = entry;
    difference = entry_difference;
    bound = entry_bound;
    compared = true;
  }
}

double largest_difference(const at::Tensor& actual, const at::Tensor& reference) {
  if (!actual.sizes().equals(reference.sizes())) {
    return kInfinity;
  }
  if (actual.numel() == 0) {
    return 0.0;
  }
  const auto difference =
      (actual.to(at::kCPU, at::kDouble) - reference.to(at::kDouble)).abs().max().item<double>();
  return std::isfinite(difference) ? difference : kInfinity;
}

std::vector<std::string> gather_texts(const std::string& local, parallel::Communicator& world) {
  auto length = at::full({1}, static_cast<int64_t>(local.size()), at::kLong);
  auto lengths = at::empty({world.size()}, at::kLong);
  world.all_gather(lengths, length)->wait();
  const auto longest = std::max<int64_t>(lengths.max().item<int64_t>(), 1);
  auto mine = at::zeros({longest}, at::kByte);
  std::memcpy(mine.mutable_data_ptr(), local.data(), local.size());
  auto all = at::empty({world.size() * longest}, at::kByte);
  world.all_gather(all, mine)->wait();
  std::vector<std::string> texts;
  for (int rank = 0; rank < world.size(); ++rank) {
    const auto* begin = static_cast<const char*>(all.const_data_ptr()) + rank * longest;
    texts.emplace_back(begin, begin + lengths[rank].item<int64_t>());
  }
  return texts;
}

std::vector<Comparison> merge_over_ranks(const std::vector<Comparison>& local,
                                         parallel::Communicator& world) {
  auto list = nlohmann::json::array();
  for (const auto& comparison : local) {
    list.push_back(
        {comparison.worst, comparison.difference, comparison.bound, comparison.compared});
  }
  // From nothing and in rank order, so that all ranks choose the same among equals.
  std::vector<Comparison> merged;
  for (const auto& comparison : local) {
    merged.push_back({.quantity = comparison.quantity, .of_tensors = comparison.of_tensors});
  }
  for (const auto& text : gather_texts(list.dump(), world)) {
    const auto other = nlohmann::json::parse(text);
    for (size_t i = 0; i < merged.size(); ++i) {
      if (other[i][3].get<bool>()) {
        merged[i].include(other[i][0].get<std::string>(), number_of(other[i][1]),
                          number_of(other[i][2]));
      }
    }
  }
  return merged;
}

}  // namespace moesaic::trainer
