// Payloads are closed forms of (rank, index), so that a wrong delivery cannot look right.
#include "parallel/communicator_cases.h"

#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "parallel/collectives.h"
#include "parallel/device_mesh.h"

namespace moesaic::tests {

namespace {

using parallel::Communicator;
using parallel::CommunicatorPtr;
using parallel::WorkPtr;
using ::testing::HasSubstr;

const int64_t kLengths[] = {0, 1, 7, 1000, 70001};
const at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                 at::kLong,  at::kInt,    at::kByte};

// Small integers: exact in every type, also summed over 7 ranks.
int64_t value(int rank, int64_t index) {
  return (rank + 1) * (index % 5) + index % 3;
}

at::Tensor filled(int64_t length, at::ScalarType dtype, const std::function<int64_t(int64_t)>& f) {
  at::Tensor x = at::empty({length}, at::kLong);
  auto* data = x.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < length; ++i) {
    data[i] = f(i);
  }
  return x.to(dtype);
}

at::Tensor payload(int rank, int64_t length, at::ScalarType dtype = at::kFloat) {
  return filled(length, dtype, [=](int64_t i) { return value(rank, i); });
}

void expect_equal(const at::Tensor& actual, const at::Tensor& expected, const char* what) {
  EXPECT_TRUE(at::equal(actual, expected))
      << what << " " << actual.scalar_type() << " of " << actual.numel() << " elements";
}

void all_reduce(const CommunicatorPtr& comm) {
  for (const auto dtype : kTypes) {
    for (const int64_t length : kLengths) {
      at::Tensor x = payload(comm->rank(), length, dtype);
      comm->all_reduce_sum(x)->wait();
      expect_equal(x,
                   filled(length, dtype,
                          [&](int64_t i) {
                            int64_t sum = 0;
                            for (int rank = 0; rank < comm->size(); ++rank) {
                              sum += value(rank, i);
                            }
                            return sum;
                          }),
                   "all_reduce_sum");

      auto rotated = [&](int rank, int64_t i) { return (rank + i) % comm->size() + 3 * rank; };
      at::Tensor y = filled(length, dtype, [&](int64_t i) { return rotated(comm->rank(), i); });
      comm->all_reduce_max(y)->wait();
      expect_equal(y,
                   filled(length, dtype,
                          [&](int64_t i) {
                            int64_t largest = 0;
                            for (int rank = 0; rank < comm->size(); ++rank) {
                              largest = std::max(largest, rotated(rank, i));
                            }
                            return largest;
                          }),
                   "all_reduce_max");
    }
  }
}

void maximum_of_nan(const CommunicatorPtr& comm) {
  // Element i is NaN on rank i only; the last element nowhere.
  at::Tensor x = at::full({comm->size() + 1}, comm->rank() - 10.0, at::kFloat);
  x.mutable_data_ptr<float>()[comm->rank()] = std::numeric_limits<float>::quiet_NaN();
  comm->all_reduce_max(x)->wait();
  for (int i = 0; i < comm->size(); ++i) {
    EXPECT_TRUE(std::isnan(x.const_data_ptr<float>()[i])) << i;
  }
  EXPECT_EQ(x.const_data_ptr<float>()[comm->size()], comm->size() - 11.0f);
}

void all_gather(const CommunicatorPtr& comm) {
  for (const auto dtype : kTypes) {
    for (const int64_t length : kLengths) {
      at::Tensor output = at::full({comm->size(), length}, 77, dtype);
      comm->all_gather(output, payload(comm->rank(), length, dtype))->wait();
      for (int rank = 0; rank < comm->size(); ++rank) {
        expect_equal(output[rank], payload(rank, length, dtype), "all_gather");
      }
    }
  }
  // The input may be this rank's part of the output.
  at::Tensor output = at::zeros({comm->size(), 7}, at::kFloat);
  output[comm->rank()].copy_(payload(comm->rank(), 7));
  comm->all_gather(output, output[comm->rank()])->wait();
  for (int rank = 0; rank < comm->size(); ++rank) {
    expect_equal(output[rank], payload(rank, 7), "all_gather in place");
  }
}

void reduce_scatter(const CommunicatorPtr& comm) {
  for (const auto dtype : kTypes) {
    for (const int64_t length : kLengths) {
      const int64_t total = length * comm->size();
      at::Tensor output = at::full({length}, 77, dtype);
      comm->reduce_scatter_sum(output, payload(comm->rank(), total, dtype))->wait();
      expect_equal(output,
                   filled(length, dtype,
                          [&](int64_t i) {
                            int64_t sum = 0;
                            for (int rank = 0; rank < comm->size(); ++rank) {
                              sum += value(rank, comm->rank() * length + i);
                            }
                            return sum;
                          }),
                   "reduce_scatter_sum");
    }
  }
}

/// Rows from rank `source` to rank `destination`; some pairs have none.
int64_t rows_between(int source, int destination, int64_t scale) {
  return ((source + 2 * destination) % 3) * scale;
}

struct Exchange {
  std::vector<int64_t> input_splits, output_splits;
  at::Tensor input, expected;
};

/// Row i from s to d holds s * 1000 + d * 100 + i in its first column, and so on.
Exchange make_exchange(const Communicator& comm, int64_t scale, int64_t width,
                       at::ScalarType dtype) {
  Exchange exchange;
  std::vector<at::Tensor> inputs, outputs;
  auto rows = [&](int source, int destination) {
    const int64_t count = rows_between(source, destination, scale);
    return filled(count * width, dtype,
                  [=](int64_t i) { return source * 29 + destination * 7 + i % 61; })
        .view({count, width});
  };
  for (int other = 0; other < comm.size(); ++other) {
    inputs.push_back(rows(comm.rank(), other));
    outputs.push_back(rows(other, comm.rank()));
    exchange.input_splits.push_back(inputs.back().size(0));
    exchange.output_splits.push_back(outputs.back().size(0));
  }
  exchange.input = at::cat(inputs);
  exchange.expected = at::cat(outputs);
  return exchange;
}

void all_to_all(const CommunicatorPtr& comm) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    for (const int64_t scale : {0, 1, 7, 1000}) {
      for (const int64_t width : {1, 5}) {
        const Exchange exchange = make_exchange(*comm, scale, width, dtype);
        at::Tensor output = at::full_like(exchange.expected, 77);
        comm->all_to_all_v(output, exchange.input, exchange.output_splits, exchange.input_splits)
            ->wait();
        expect_equal(output, exchange.expected, "all_to_all_v");
      }
    }
  }
}

void broadcast(const CommunicatorPtr& comm) {
  for (int root = 0; root < comm->size(); ++root) {
    for (const int64_t length : kLengths) {
      at::Tensor x = payload(comm->rank(), length);
      comm->broadcast(x, root)->wait();
      expect_equal(x, payload(root, length), "broadcast");
    }
  }
}

void send_and_receive(const CommunicatorPtr& comm) {
  // A ring, two messages each; the receives are issued last to first neighbour.
  const int next = (comm->rank() + 1) % comm->size();
  const int previous = (comm->rank() + comm->size() - 1) % comm->size();
  if (comm->size() == 1) {
    EXPECT_THROW(comm->send(payload(0, 1), 0), std::invalid_argument);
    return;
  }
  for (const int64_t length : kLengths) {
    const at::Tensor first = payload(comm->rank(), length);
    const at::Tensor second = payload(comm->rank() + 100, length);
    at::Tensor first_in = at::zeros({length}, at::kFloat);
    at::Tensor second_in = at::zeros({length}, at::kFloat);
    std::vector<WorkPtr> works = {comm->send(first, next), comm->send(second, next),
                                  comm->recv(first_in, previous), comm->recv(second_in, previous)};
    for (auto work = works.rbegin(); work != works.rend(); ++work) {
      (*work)->wait();
    }
    expect_equal(first_in, payload(previous, length), "first");
    expect_equal(second_in, payload(previous + 100, length), "second");
  }
}

void barrier(const CommunicatorPtr& comm) {
  for (int i = 0; i < 20; ++i) {
    comm->barrier()->wait();
  }
}

void many_in_flight(const CommunicatorPtr& comm) {
  constexpr int kCount = 300;
  std::vector<at::Tensor> tensors;
  std::vector<WorkPtr> works;
  for (int i = 0; i < kCount; ++i) {
    tensors.push_back(at::full({i % 50}, comm->rank() + i, at::kDouble));
    works.push_back(comm->all_reduce_sum(tensors.back()));
    if (i % 3 == 0) {
      works.push_back(comm->barrier());
    }
  }
  // Waiting for the last first: the order of waiting is free.
  for (auto work = works.rbegin(); work != works.rend(); ++work) {
    (*work)->wait();
    (*work)->wait();
  }
  const int n = comm->size();
  for (int i = 0; i < kCount; ++i) {
    expect_equal(tensors[i], at::full({i % 50}, n * i + n * (n - 1) / 2.0, at::kDouble), "many");
  }
}

void splits(const CommunicatorPtr& comm) {
  const int rank = comm->rank();
  // Even and odd ranks, in reverse order.
  const CommunicatorPtr half = comm->split(rank % 2, -rank, "half");
  EXPECT_EQ(half->size(), (comm->size() + 1 - rank % 2) / 2);
  EXPECT_EQ(half->rank(), half->size() - 1 - rank / 2);
  EXPECT_EQ(half->name(), "half");
  const CommunicatorPtr alone = comm->split(rank, 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  const CommunicatorPtr pairs = comm->split(rank / 2, rank, "pairs");

  // World and groups in flight at the same time, issued in different order by odd and even ranks:
  // communicators do not wait for each other.
  for (int round = 0; round < 10; ++round) {
    at::Tensor in_world = at::full({1000}, rank + 1, at::kDouble);
    at::Tensor in_half = at::full({777}, rank + 1, at::kDouble);
    at::Tensor in_alone = at::full({5}, rank + 1, at::kDouble);
    at::Tensor in_pairs = at::full({3}, rank + 1, at::kDouble);
    std::vector<WorkPtr> works;
    if (rank % 2 == 0) {
      works = {comm->all_reduce_sum(in_world), half->all_reduce_sum(in_half),
               pairs->all_reduce_sum(in_pairs), alone->all_reduce_sum(in_alone)};
    } else {
      works = {alone->all_reduce_sum(in_alone), pairs->all_reduce_sum(in_pairs),
               half->all_reduce_sum(in_half), comm->all_reduce_sum(in_world)};
    }
    for (const WorkPtr& work : works) {
      work->wait();
    }
    auto sum_of = [&](auto&& belongs) {
      double sum = 0;
      for (int other = 0; other < comm->size(); ++other) {
        sum += belongs(other) ? other + 1 : 0;
      }
      return sum;
    };
    expect_equal(in_world, at::full({1000}, sum_of([](int) { return true; }), at::kDouble),
                 "world");
    expect_equal(in_half,
                 at::full({777}, sum_of([&](int r) { return r % 2 == rank % 2; }), at::kDouble),
                 "half");
    expect_equal(in_pairs,
                 at::full({3}, sum_of([&](int r) { return r / 2 == rank / 2; }), at::kDouble),
                 "pairs");
    expect_equal(in_alone, at::full({5}, rank + 1, at::kDouble), "alone");
  }
  // A group of a group.
  const CommunicatorPtr again = half->split(0, half->rank(), "again");
  at::Tensor ranks = at::empty({again->size()}, at::kLong);
  again->all_gather(ranks, at::full({1}, half->rank(), at::kLong))->wait();
  expect_equal(ranks, at::arange(again->size(), at::kLong), "again");
}

void different_order_of_completion(const CommunicatorPtr& comm) {
  // The world operation cannot end before the last rank issues it, which does so after the group.
  const CommunicatorPtr group = comm->split(0, comm->rank(), "group");
  at::Tensor first = at::ones({100}, at::kFloat);
  at::Tensor second = at::ones({100}, at::kFloat);
  const bool is_last = comm->rank() == comm->size() - 1;
  WorkPtr world_work = is_last ? nullptr : comm->all_reduce_sum(first);
  group->all_reduce_sum(second)->wait();
  if (is_last) {
    world_work = comm->all_reduce_sum(first);
  }
  world_work->wait();
  expect_equal(first, at::full({100}, comm->size(), at::kFloat), "world");
  expect_equal(second, first, "group");
}

void refused(const CommunicatorPtr& comm) {
  auto message_of = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  const at::Tensor columns = at::zeros({4, 6}, at::kFloat).slice(1, 0, 3);
  EXPECT_THAT(message_of([&] { comm->all_reduce_sum(columns); }), HasSubstr("must be contiguous"));
  EXPECT_THAT(message_of([&] { comm->all_reduce_sum(at::Tensor()); }), HasSubstr("not defined"));
  EXPECT_THAT(message_of([&] { comm->all_reduce_sum(at::zeros({2}, at::kComplexFloat)); }),
              HasSubstr("cannot reduce"));
  EXPECT_THAT(
      message_of([&] { comm->all_gather(at::zeros({comm->size() * 3 + 1}), at::zeros({3})); }),
      HasSubstr("output must have"));
  EXPECT_THAT(
      message_of([&] { comm->all_gather(at::zeros({comm->size()}), at::zeros({1}, at::kDouble)); }),
      HasSubstr("output has type Float, input Double"));
  EXPECT_THAT(message_of([&] {
                comm->reduce_scatter_sum(at::zeros({3}), at::zeros({comm->size() * 3 + 1}));
              }),
              HasSubstr("input must have"));
  const std::vector<int64_t> ones(comm->size(), 1);
  EXPECT_THAT(message_of([&] {
                comm->all_to_all_v(at::zeros({comm->size(), 2}), at::zeros({comm->size() + 1, 2}),
                                   ones, ones);
              }),
              HasSubstr("input_splits must be"));
  EXPECT_THAT(message_of([&] { comm->broadcast(at::zeros({1}), comm->size()); }),
              HasSubstr("root must be"));
  // None of these was issued: the ranks still agree.
  comm->barrier()->wait();
}

void counts_bytes(const CommunicatorPtr& comm) {
  const int64_t n = comm->size();
  const CommunicatorPtr fresh = comm->split(0, comm->rank(), "fresh");
  EXPECT_EQ(fresh->bytes_sent(), 0);
  fresh->all_reduce_sum(at::zeros({n * 10}, at::kFloat))->wait();
  EXPECT_EQ(fresh->bytes_sent(), 2 * (n - 1) * 10 * 4);
  fresh->all_gather(at::zeros({n * 10}, at::kDouble), at::zeros({10}, at::kDouble))->wait();
  EXPECT_EQ(fresh->bytes_sent(), (n - 1) * (80 + 80));
  fresh->barrier()->wait();
  EXPECT_EQ(fresh->bytes_sent(), (n - 1) * 160);
}

// --- differentiable -----------------------------------------------------------------------------

void differentiable_all_to_all(const CommunicatorPtr& comm) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const int64_t scale : {0, 1, 7, 1000}) {
      const Exchange exchange = make_exchange(*comm, scale, 3, dtype);
      at::Tensor input = exchange.input.clone().requires_grad_();
      at::Tensor output =
          parallel::all_to_all_v(input, exchange.output_splits, exchange.input_splits, comm);
      expect_equal(output.detach(), exchange.expected, "forward");
      // d loss / d output = (receiver + 1) * output, so a row that went to d comes back times d
      // + 1.
      (output * output.detach() * (comm->rank() + 1)).sum().backward();
      std::vector<at::Tensor> expected;
      int64_t row = 0;
      for (int other = 0; other < comm->size(); ++other) {
        const int64_t rows = exchange.input_splits[other];
        expected.push_back(exchange.input.slice(0, row, row + rows) * (other + 1));
        row += rows;
      }
      ASSERT_TRUE(input.grad().defined());
      expect_equal(input.grad(), at::cat(expected), "backward");
    }
  }
}

void backward_without_rows(const CommunicatorPtr& comm) {
  // Rank 0 owns no rows, all others send one to everybody; then only rank 0 receives.
  const int n = comm->size();
  const int64_t mine = comm->rank() == 0 ? 0 : 1;
  std::vector<int64_t> input_splits(n, mine), output_splits(n, 1);
  output_splits[0] = 0;
  at::Tensor input = at::full({mine * n, 4}, comm->rank(), at::kDouble).requires_grad_();
  at::Tensor output = parallel::all_to_all_v(input, output_splits, input_splits, comm);
  EXPECT_EQ(output.size(0), n - 1);
  (output.sum() * (comm->rank() + 1)).backward();
  ASSERT_TRUE(input.grad().defined());
  for (int64_t row = 0; row < input.size(0); ++row) {
    expect_equal(input.grad()[row], at::full({4}, row + 1, at::kDouble), "gradient");
  }
}

void mesh(const CommunicatorPtr& comm) {
  const int n = comm->size();
  try {
    parallel::DeviceMesh::for_training(comm, 1, n, 2);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::invalid_argument& error) {
    const std::string expected = "the mesh pipeline 1 x expert_data " + std::to_string(n) +
                                 " x expert 2 has " + std::to_string(2 * n) +
                                 " places, the world " + std::to_string(n) + " ranks";
    EXPECT_EQ(error.what(), expected);
  }
  std::vector<std::array<int, 3>> shapes = {{1, 1, n}, {1, n, 1}, {n, 1, 1}};
  if (n % 2 == 0) {
    shapes.push_back({1, n / 2, 2});
    shapes.push_back({2, 1, n / 2});
  }
  for (const auto& [pipeline, expert_data, expert] : shapes) {
    auto grid = parallel::DeviceMesh::for_training(comm, pipeline, expert_data, expert);
    EXPECT_EQ(grid.world(), comm);
    EXPECT_EQ(grid.group("pipeline")->size(), pipeline);
    EXPECT_EQ(grid.group("expert_data")->size(), expert_data);
    EXPECT_EQ(grid.group("expert")->size(), expert);
    EXPECT_EQ(grid.group("data")->size(), expert_data * expert);
    EXPECT_EQ(grid.group("data")->rank(), comm->rank() % (expert_data * expert));
    EXPECT_EQ(grid.group("expert")->rank(), comm->rank() % expert);
    EXPECT_EQ(grid.coordinate("pipeline"), comm->rank() / (expert_data * expert));
    EXPECT_EQ(grid.rank_at({grid.coordinate("pipeline"), grid.coordinate("expert_data"),
                            grid.coordinate("expert")}),
              comm->rank());
    EXPECT_THROW(grid.group("tensor"), std::invalid_argument);
    // The members of a group, by world rank.
    at::Tensor members = at::empty({expert_data}, at::kLong);
    grid.group("expert_data")->all_gather(members, at::full({1}, comm->rank(), at::kLong))->wait();
    for (int i = 0; i < expert_data; ++i) {
      EXPECT_EQ(members.const_data_ptr<int64_t>()[i],
                grid.rank_at({grid.coordinate("pipeline"), i, grid.coordinate("expert")}));
    }
    EXPECT_EQ(grid.group(std::vector<std::string>{"pipeline", "expert"})->size(),
              pipeline * expert);
  }
}

}  // namespace

const std::vector<CommunicatorCase>& communicator_cases() {
  static const std::vector<CommunicatorCase> cases = {
      {"AllReduce", &all_reduce},
      {"MaximumOfNan", &maximum_of_nan},
      {"AllGather", &all_gather},
      {"ReduceScatter", &reduce_scatter},
      {"AllToAll", &all_to_all},
      {"Broadcast", &broadcast},
      {"SendAndReceive", &send_and_receive},
      {"Barrier", &barrier},
      {"ManyInFlight", &many_in_flight},
      {"Splits", &splits},
      {"DifferentOrderOfCompletion", &different_order_of_completion},
      {"Refused", &refused},
      {"CountsBytes", &counts_bytes},
      {"DifferentiableAllToAll", &differentiable_all_to_all},
      {"BackwardWithoutRows", &backward_without_rows},
      {"Mesh", &mesh},
  };
  return cases;
}

std::vector<char> reduction_bits(Communicator& communicator) {
  std::vector<char> bits;
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    // Magnitudes from 2^-20 to 2^20, both signs: the order of the sum is visible.
    const int64_t length = 5003 * communicator.size();
    at::Tensor x = at::empty({length}, at::kDouble);
    auto* data = x.mutable_data_ptr<double>();
    for (int64_t i = 0; i < length; ++i) {
      const double angle = 12.9898 * static_cast<double>(i) + 78.233 * communicator.rank();
      const double exponent = dtype == at::kHalf ? 5 : 20;
      data[i] = std::sin(angle) * std::exp2(exponent * std::cos(7.1 * angle));
    }
    x = x.to(dtype);
    at::Tensor part = at::empty({5003}, dtype);
    communicator.reduce_scatter_sum(part, x)->wait();
    communicator.all_reduce_sum(x)->wait();
    for (const at::Tensor& result : {x, part}) {
      const char* begin = static_cast<const char*>(result.const_data_ptr());
      bits.insert(bits.end(), begin, begin + result.nbytes());
    }
  }
  return bits;
}

}  // namespace moesaic::tests
