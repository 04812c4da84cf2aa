// Each logical parameter counts once, whatever the layout.
#include "parallel/global_norm.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {
namespace {

using parallel::CommunicatorPtr;
using parallel::DeviceMesh;
using parallel::ParameterStore;

// A dense gradient 3, ..., 3 (70000 of them: more than one chunk of the sum) and four experts with
// gradients e + 1 on five elements each, split over the expert ranks.
constexpr int64_t kDense = 70000;
constexpr int64_t kExperts = 4;
constexpr int64_t kExpertNumel = 5;
const double kSquares = 9.0 * kDense + kExpertNumel * (1.0 + 4.0 + 9.0 + 16.0);

double norm_of_layout(const CommunicatorPtr& world, int expert_data, int expert,
                      at::ScalarType dtype, double scale = 1.0) {
  const auto mesh = DeviceMesh::for_training(world, 1, expert_data, expert);
  const int64_t num_local = kExperts / expert;
  at::Tensor dense;
  at::Tensor experts;
  ParameterStore store(mesh,
                       {{"dense", {kDense}, "data", "", &dense},
                        {"experts", {num_local, kExpertNumel}, "expert_data", "expert", &experts}},
                       dtype);
  dense.grad().fill_(3.0);
  for (int64_t i = 0; i < num_local; ++i) {
    const auto id = mesh.coordinate("expert") * num_local + i;
    experts.grad()[i].fill_(static_cast<double>(id + 1));
  }
  parallel::scale_gradients(store, scale);
  return parallel::global_gradient_norm(store);
}

TEST(GlobalNorm, CountsEachParameterOnce) {
  for (const auto& [expert_data, expert] :
       {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}, {1, 4}, {4, 1}}) {
    std::vector<double> norms(expert_data * expert);
    spawn_ranks(expert_data * expert, [&](const CommunicatorPtr& world) {
      norms[world->rank()] = norm_of_layout(world, expert_data, expert, at::kDouble);
    });
    for (const double norm : norms) {
      EXPECT_EQ(norm, norms[0]);  // the same bits: all ranks must take the same decision
      EXPECT_DOUBLE_EQ(norm, std::sqrt(kSquares)) << expert_data << " x " << expert;
    }
  }
}

TEST(GlobalNorm, AccumulatesFloat32InFloat64) {
  const auto world = parallel::make_single_communicator();
  EXPECT_DOUBLE_EQ(norm_of_layout(world, 1, 1, at::kFloat), std::sqrt(kSquares));
  EXPECT_DOUBLE_EQ(norm_of_layout(world, 1, 1, at::kFloat, 0.25), 0.25 * std::sqrt(kSquares));
}

TEST(GlobalNorm, OneBadElementOnOneRankReachesAll) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    spawn_ranks(2, [&](const CommunicatorPtr& world) {
      const auto mesh = DeviceMesh::for_training(world, 1, 1, 2);
      at::Tensor experts;
      ParameterStore store(mesh, {{"experts", {3}, "expert_data", "expert", &experts}}, at::kFloat);
      if (world->rank() == 1) {
        experts.grad()[2].fill_(bad);
      }
      EXPECT_FALSE(std::isfinite(parallel::global_gradient_norm(store)));
    });
  }
}

}  // namespace
}  // namespace moesaic::tests
