// Main gradients become the sum over their replicas, whatever the buckets and whoever is ready
// first. Gradients are closed forms of (rank, parameter, element) and small integers: sums are
// exact.
#include "parallel/gradient_reducer.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {
namespace {

using parallel::CommunicatorPtr;
using parallel::DeviceMesh;
using parallel::FaultInjection;
using parallel::GradientReducer;
using parallel::ParameterStore;

constexpr int64_t kNumParameters = 6;

bool is_expert(int64_t parameter) {
  return parameter % 3 == 2;
}

// Five to thirty elements: 40 to 240 bytes.
int64_t numel_of(int64_t parameter) {
  return 5 * (parameter + 1);
}

at::Tensor gradient_of(int rank, int64_t parameter) {
  return at::arange(numel_of(parameter), at::kDouble)
      .add(1.0)
      .mul(static_cast<double>((rank + 1) * (parameter + 2)));
}

/// A store of dense and expert parameters and what a rank's gradients must become.
struct Parameters {
  explicit Parameters(const DeviceMesh& mesh) : mesh(mesh), tensors(kNumParameters) {
    std::vector<parallel::ParameterSpec> specs;
    for (int64_t i = 0; i < kNumParameters; ++i) {
      specs.push_back({std::to_string(i),
                       {numel_of(i)},
                       is_expert(i) ? "expert_data" : "data",
                       is_expert(i) ? "expert" : "",
                       &tensors[i]});
    }
    store = std::make_unique<ParameterStore>(mesh, std::move(specs), at::kDouble);
  }

  int rank() const { return mesh.world()->rank(); }

  at::Tensor expected(int64_t parameter) const {
    const int num_experts = mesh.axis_size("expert");
    auto sum = at::zeros({numel_of(parameter)}, at::kDouble);
    for (int other = 0; other < mesh.world()->size(); ++other) {
      if (!is_expert(parameter) || other % num_experts == rank() % num_experts) {
        sum += gradient_of(other, parameter);
      }
    }
    return sum;
  }

  void backward(const std::vector<int64_t>& order) {
    for (const int64_t parameter : order) {
      (tensors[parameter] * gradient_of(rank(), parameter)).sum().backward();
    }
  }

  void expect_sums(double factor = 1.0) {
    for (int64_t i = 0; i < kNumParameters; ++i) {
      EXPECT_TRUE(at::equal(tensors[i].grad(), expected(i) * factor))
          << "parameter " << i << " on rank " << rank();
    }
  }

  const DeviceMesh& mesh;
  std::vector<at::Tensor> tensors;
  std::unique_ptr<ParameterStore> store;
};

const std::vector<int64_t> kBackwardOrder = {5, 4, 3, 2, 1, 0};

template <typename Body>
void on_four_ranks(Body body) {
  for (const int expert : {1, 2, 4}) {
    spawn_ranks(4, [&](const CommunicatorPtr& world) {
      const auto mesh = DeviceMesh::for_training(world, 1, 4 / expert, expert);
      Parameters parameters(mesh);
      body(parameters);
    });
  }
}

TEST(GradientReducer, BucketsCloseWhenTheyAreFull) {
  const auto mesh = DeviceMesh::for_training(parallel::make_single_communicator(), 1, 1, 1);
  Parameters parameters(mesh);
  const auto num_buckets = [&](int64_t bytes) {
    return GradientReducer(*parameters.store, bytes, nullptr).num_buckets();
  };
  EXPECT_EQ(num_buckets(1), kNumParameters);  // smaller than every parameter
  EXPECT_EQ(num_buckets(1 << 20), 2);         // one for each group of replicas
  // Dense 4 and 3 (200 + 160 bytes), then 1 and 0; the experts 5 and 2 one by one or together.
  EXPECT_EQ(num_buckets(240), 2 + 2);
  EXPECT_EQ(num_buckets(250), 2 + 1);
}

TEST(GradientReducer, SumsOverTheReplicas) {
  for (const int64_t bucket_bytes : {1, 200, 400, 1 << 20}) {
    on_four_ranks([&](Parameters& parameters) {
      GradientReducer reducer(*parameters.store, bucket_bytes, nullptr);
      for (int step = 0; step < 2; ++step) {  // and again, with what the first step left behind
        parameters.store->zero_gradients();
        reducer.arm();
        parameters.backward(kBackwardOrder);
        reducer.finish();
        parameters.expect_sums();
      }
    });
  }
}

TEST(GradientReducer, OrderOfReadinessMayDifferBetweenRanks) {
  on_four_ranks([&](Parameters& parameters) {
    GradientReducer reducer(*parameters.store, 200, nullptr);
    auto order = kBackwardOrder;
    std::rotate(order.begin(), order.begin() + parameters.rank(), order.end());
    reducer.arm();
    parameters.backward(order);
    reducer.finish();
    parameters.expect_sums();
  });
}

TEST(GradientReducer, EarlierBackwardsAddUpUnreduced) {
  on_four_ranks([&](Parameters& parameters) {
    GradientReducer reducer(*parameters.store, 200, nullptr);
    parameters.backward(kBackwardOrder);
    parameters.backward(kBackwardOrder);
    EXPECT_TRUE(at::equal(parameters.tensors[4].grad(), gradient_of(parameters.rank(), 4) * 2));
    reducer.arm();
    parameters.backward(kBackwardOrder);
    reducer.finish();
    parameters.expect_sums(3.0);
  });
}

// Ranks without data, parameters without a gradient: the collectives are the same.
TEST(GradientReducer, WhatWasNotReadyIsReducedAtTheEnd) {
  on_four_ranks([&](Parameters& parameters) {
    GradientReducer reducer(*parameters.store, 200, nullptr);
    const auto contributes = [](int rank, int64_t parameter) {
      return rank != 2 && !(rank == 1 && parameter % 2 == 1);
    };
    for (int step = 0; step < 2; ++step) {
      parameters.store->zero_gradients();
      if (step == 0 && parameters.rank() != 2) {
        reducer.arm();
      }
      for (const int64_t parameter : kBackwardOrder) {
        if (contributes(parameters.rank(), parameter)) {
          parameters.backward({parameter});
        }
      }
      reducer.finish();  // in the second step nobody has armed it
      for (int64_t i = 0; i < kNumParameters; ++i) {
        auto expected = parameters.expected(i);
        const int num_experts = parameters.mesh.axis_size("expert");
        for (int rank = 0; rank < 4; ++rank) {
          const bool is_replica =
              !is_expert(i) || rank % num_experts == parameters.rank() % num_experts;
          if (is_replica && !contributes(rank, i)) {
            expected -= gradient_of(rank, i);
          }
        }
        EXPECT_TRUE(at::equal(parameters.tensors[i].grad(), expected))
            << "parameter " << i << " on rank " << parameters.rank() << " in step " << step;
      }
    }
  });
}

// Observed through the traffic: bytes are sent before finish() is called.
TEST(GradientReducer, CompleteBucketsStartDuringTheBackward) {
  spawn_ranks(2, [](const CommunicatorPtr& world) {
    const auto mesh = DeviceMesh::for_training(world, 1, 2, 1);
    Parameters parameters(mesh);
    GradientReducer reducer(*parameters.store, 1, nullptr);
    const int64_t before = mesh.bytes_sent();
    parameters.backward(kBackwardOrder);
    EXPECT_EQ(mesh.bytes_sent(), before) << "not armed";
    parameters.store->zero_gradients();

    reducer.arm();
    parameters.backward({4, 3});
    EXPECT_EQ(mesh.bytes_sent(), before) << "5 comes first";
    parameters.backward({5});
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (mesh.bytes_sent() == before && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_GT(mesh.bytes_sent(), before);
    parameters.backward({2, 1, 0});
    reducer.finish();
    parameters.expect_sums();
  });
}

TEST(GradientReducer, HooksEndWithTheReducer) {
  const auto mesh = DeviceMesh::for_training(parallel::make_single_communicator(), 1, 1, 1);
  Parameters parameters(mesh);
  { GradientReducer reducer(*parameters.store, 200, nullptr); }
  parameters.backward(kBackwardOrder);
  parameters.expect_sums();
}

TEST(GradientReducer, SkipReduceSparesOneBucketOfOneRank) {
  spawn_ranks(2, [](const CommunicatorPtr& world) {
    const auto mesh = DeviceMesh::for_training(world, 1, 2, 1);
    Parameters parameters(mesh);
    FaultInjection fault;
    fault.kind = FaultInjection::Kind::skip_reduce;
    fault.active = world->rank() == 1;
    GradientReducer reducer(*parameters.store, 1, &fault);
    reducer.arm();
    parameters.backward(kBackwardOrder);
    reducer.finish();
    EXPECT_EQ(fault.hits, world->rank());
    for (int64_t i = 0; i < kNumParameters; ++i) {
      const bool is_hit = world->rank() == 1 && i == 5;
      EXPECT_TRUE(at::equal(parameters.tensors[i].grad(),
                            is_hit ? gradient_of(1, i) : parameters.expected(i)))
          << "parameter " << i;
    }
  });
}

}  // namespace
}  // namespace moesaic::tests
