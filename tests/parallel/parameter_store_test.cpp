// The flat buffers and the table of owners.
#include "parallel/parameter_store.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {
namespace {

using parallel::CommunicatorPtr;
using parallel::DeviceMesh;
using parallel::ParameterStore;

TEST(ParameterStore, EntriesAreViewsOfFlatBuffersInOrder) {
  const auto mesh = DeviceMesh::for_training(parallel::make_single_communicator(), 1, 1, 1);
  at::Tensor a;
  at::Tensor b;
  at::Tensor c;
  at::Tensor d;
  ParameterStore store(mesh,
                       {{"a", {3, 5}, "data", "", &a},
                        {"b", {2, 2}, "expert_data", "expert", &b},
                        {"c", {7}, "data", "", &c},
                        {"d", {1}, "expert_data", "expert", &d}},
                       at::kDouble);
  ASSERT_EQ(store.groups().size(), 2);
  EXPECT_EQ(store.groups()[0].replicated_over, "data");
  EXPECT_EQ(store.groups()[0].shards, nullptr);
  EXPECT_EQ(store.groups()[1].sharded_over, "expert");
  EXPECT_NE(store.groups()[1].shards, nullptr);
  // An entry starts on a cache line: eight doubles.
  EXPECT_EQ(store.entry("a").offset, 0);
  EXPECT_EQ(store.entry("c").offset, 16);
  EXPECT_EQ(store.groups()[0].values.numel(), 24);
  EXPECT_EQ(store.entry("d").offset, 8);
  EXPECT_EQ(store.num_local_elements(), 15 + 4 + 7 + 1);
  EXPECT_EQ(store.parameter_bytes(), 8 * (15 + 4 + 7 + 1));
  EXPECT_THROW(store.entry("e"), std::out_of_range);

  EXPECT_TRUE(a.requires_grad() && a.is_leaf());
  EXPECT_EQ(c.sizes(), at::IntArrayRef({7}));
  store.groups()[0].values.fill_(2.0);
  EXPECT_TRUE(at::equal(c.detach(), at::full({7}, 2.0, at::kDouble)));
  EXPECT_TRUE(at::equal(d.detach(), at::zeros({1}, at::kDouble)));
}

TEST(ParameterStore, AutogradAccumulatesIntoTheMainGradients) {
  const auto mesh = DeviceMesh::for_training(parallel::make_single_communicator(), 1, 1, 1);
  at::Tensor a;
  at::Tensor unused;
  ParameterStore store(mesh, {{"a", {4}, "data", "", &a}, {"unused", {3}, "data", "", &unused}},
                       at::kDouble);
  const auto x = at::arange(4, at::kDouble);
  (a * x).sum().backward();
  (a * x).sum().backward();
  const auto& gradients = store.groups()[0].gradients;
  EXPECT_TRUE(at::equal(store.slice(gradients, store.entry("a")), 2 * x));
  EXPECT_EQ(gradients.sum().item<double>(), 12.0);  // padding and `unused` stay zero
  EXPECT_TRUE(unused.grad().defined());
  EXPECT_EQ(a.grad().data_ptr(), gradients.data_ptr());
  store.zero_gradients();
  EXPECT_TRUE(at::equal(a.grad(), at::zeros({4}, at::kDouble)));
  (a * x).sum().backward();
  EXPECT_TRUE(at::equal(store.slice(gradients, store.entry("a")), x));
}

TEST(ParameterStore, GroupsAreThoseOfTheMesh) {
  spawn_ranks(4, [](const CommunicatorPtr& world) {
    const auto mesh = DeviceMesh::for_training(world, 1, 2, 2);
    at::Tensor dense;
    at::Tensor expert;
    ParameterStore store(
        mesh,
        {{"dense", {1}, "data", "", &dense}, {"expert", {1}, "expert_data", "expert", &expert}},
        at::kDouble);
    const auto sum_of_ranks = [&](parallel::Communicator& group) {
      const auto rank = at::full({1}, world->rank(), at::kLong);
      group.all_reduce_sum(rank)->wait();
      return rank.item<int64_t>();
    };
    const auto& groups = store.groups();
    EXPECT_EQ(sum_of_ranks(*groups[0].replicas), 0 + 1 + 2 + 3);
    // expert is the innermost axis: ranks r and r + 2 hold the same experts.
    EXPECT_EQ(sum_of_ranks(*groups[1].replicas), world->rank() % 2 == 0 ? 0 + 2 : 1 + 3);
    EXPECT_EQ(sum_of_ranks(*groups[1].shards), world->rank() < 2 ? 0 + 1 : 2 + 3);
  });
}

}  // namespace
}  // namespace moesaic::tests
