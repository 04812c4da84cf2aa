// One number, the worst of a quantity against its bound, and the report over all ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace moesaic::trainer {

/// The worst entry of one quantity.
struct Comparison {
  std::string quantity;     ///< "gradients", "logits", ...
  std::string worst = {};   ///< the tensor, layer or step that is furthest from its bound
  double difference = 0.0;  ///< of that entry
  double bound = 0.0;       ///< of that entry
  bool compared = false;    ///< false: the reference has no such entry
  bool of_tensors = false;  ///< entries are named tensors
  /// Tensors of the model that the reference has not; empty where nothing was compared at all.
  std::vector<std::string> not_compared = {};

  /// How much of its bound the entry uses; NaN and infinite differences or bounds are infinitely
  /// far. A bound of zero asks for exact equality.
  double used() const;
  bool ok() const { return !compared || used() <= 1.0; }
  /// Takes the entry if it is worse than what is here.
  void include(const std::string& entry, double entry_difference, double entry_bound);
};

/// Largest absolute difference; infinite when shapes differ or a value is not finite.
double largest_difference(const at::Tensor& actual, const at::Tensor& reference);

/// Merges the lists (same quantities in the same order) of all ranks: the worst entry of any rank
/// wins. Collective; every rank returns the same.
std::vector<Comparison> merge_over_ranks(const std::vector<Comparison>& local,
                                         parallel::Communicator& world);

/// Collective: every rank's text, in rank order.
std::vector<std::string> gather_texts(const std::string& local, parallel::Communicator& world);

}  // namespace moesaic::trainer
