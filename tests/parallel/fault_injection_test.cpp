#include "parallel/fault_injection.h"

#include <gtest/gtest.h>

#include "tests/support/spawn_ranks.h"

namespace moesaic::tests {

namespace {

using parallel::CommunicatorPtr;
using parallel::FaultInjection;

/// Every rank sends one row [rank, rank, rank] to each; returns how many elements arrive changed.
int changed_elements(parallel::Communicator& comm, at::ScalarType dtype) {
  const std::vector<int64_t> ones(comm.size(), 1);
  const at::Tensor input = at::full({comm.size(), 3}, comm.rank(), dtype);
  at::Tensor output = at::empty({comm.size(), 3}, dtype);
  const parallel::WorkPtr work = comm.all_to_all_v(output, input, ones, ones);
  work->wait();
  work->wait();
  int changed = 0;
  const at::Tensor doubles = output.to(at::kDouble);
  for (int64_t i = 0; i < doubles.numel(); ++i) {
    const double difference = doubles.const_data_ptr<double>()[i] - static_cast<double>(i / 3);
    EXPECT_TRUE(difference == 0 || difference >= 992) << difference;
    changed += difference != 0;
  }
  return changed;
}

void expect_one_element(const CommunicatorPtr& comm, at::ScalarType dtype) {
  auto fault = std::make_shared<FaultInjection>();
  fault->kind = FaultInjection::Kind::corrupt_all_to_all;
  fault->active = comm->rank() == comm->size() - 1;
  const CommunicatorPtr corrupted = parallel::inject_corruption(comm, fault);
  const int expected = fault->active && comm->size() > 1 ? 1 : 0;
  EXPECT_EQ(changed_elements(*corrupted, at::kLong), 0);
  EXPECT_EQ(fault->hits, 0);
  EXPECT_EQ(changed_elements(*corrupted, dtype), expected);
  EXPECT_EQ(changed_elements(*corrupted, dtype), 0);  // one exchange only
  EXPECT_EQ(fault->hits, expected);
}

TEST(InjectCorruption, ChangesOneElementOfOneExchange) {
  for (const int n : {1, 2, 3}) {
    for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      spawn_ranks(n, [&](CommunicatorPtr comm) { expect_one_element(comm, dtype); });
    }
  }
}

TEST(InjectCorruption, IsTheCommunicatorItselfForOtherFaults) {
  const CommunicatorPtr comm = parallel::make_single_communicator();
  auto fault = std::make_shared<FaultInjection>();
  fault->kind = FaultInjection::Kind::drop_row;
  fault->active = true;
  EXPECT_EQ(parallel::inject_corruption(comm, fault), comm);
  EXPECT_EQ(parallel::inject_corruption(comm, nullptr), comm);
}

TEST(FaultInjection, FiresOnTheActiveRankOnly) {
  FaultInjection fault;
  EXPECT_FALSE(fault.fire(FaultInjection::Kind::none));
  fault.kind = FaultInjection::Kind::skip_reduce;
  EXPECT_FALSE(fault.fire(FaultInjection::Kind::skip_reduce));
  fault.active = true;
  EXPECT_FALSE(fault.fire(FaultInjection::Kind::drop_row));
  EXPECT_TRUE(fault.fire(FaultInjection::Kind::skip_reduce));
  EXPECT_EQ(fault.hits, 1);
}

}  // namespace

}  // namespace moesaic::tests
