#include "parallel/operation_ring.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace moesaic::tests {

namespace {

using parallel::CommunicationError;
using parallel::Group;
using parallel::Operation;
using parallel::OperationKind;
using parallel::OperationPlan;
using parallel::OperationRecord;
using parallel::OperationRing;
using State = parallel::OperationRecord::State;

class OperationRingTest : public ::testing::Test {
 protected:
  std::string path =
      (std::filesystem::temp_directory_path() / ("ring-test-" + std::to_string(getpid()) + ".ring"))
          .string();
  ~OperationRingTest() override { std::filesystem::remove(path); }

  static Operation make(OperationKind kind, int64_t context, int64_t sequence) {
    auto group = std::make_shared<Group>();
    group->name = "group-" + std::to_string(context);
    group->context = context;
    group->rank = 0;
    group->world_ranks = {4, 5};
    OperationPlan plan;
    plan.kind = kind;
    plan.bytes = 100 + sequence;
    plan.peers = {1};
    return {group, sequence, std::move(plan), 60, 1 << 30};
  }
};

TEST_F(OperationRingTest, ShowsWhatAnotherRankIsDoing) {
  OperationRing ring = OperationRing::create(path, 4);
  const auto other = OperationRing::open(path, 4);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->pid(), getpid());
  EXPECT_FALSE(other->current());
  EXPECT_EQ(other->last_issued(7), -1);

  Operation first = make(OperationKind::all_reduce_sum, 7, 0);
  Operation second = make(OperationKind::send, 9, 3);
  first.ring_number = ring.add(first);
  second.ring_number = ring.add(second);
  EXPECT_EQ(first.ring_number, 1);
  EXPECT_EQ(other->last_issued(7), 0);
  EXPECT_EQ(other->last_issued(9), -1);  // a message is not a collective
  EXPECT_EQ(other->current()->kind, OperationKind::all_reduce_sum);
  EXPECT_EQ(other->current()->group, "group-7");
  EXPECT_EQ(other->current()->bytes, 100);
  EXPECT_EQ(other->current()->peer, -1);

  ring.set_state(first, State::done);
  EXPECT_EQ(other->current()->kind, OperationKind::send);
  EXPECT_EQ(other->current()->peer, 5);
  ring.set_state(second, State::done);
  EXPECT_EQ(other->current()->number, 2);  // the last one
  EXPECT_EQ(other->current()->state, State::done);
  ring.beat();
  EXPECT_LT(other->seconds_since_beat(), 30);
}

TEST_F(OperationRingTest, KeepsTheLastOnes) {
  OperationRing ring = OperationRing::create(path, 0);
  for (int64_t i = 0; i < 3 * OperationRing::kNumEntries; ++i) {
    Operation operation = make(OperationKind::barrier, i % 300, i);
    operation.ring_number = ring.add(operation);
    ring.set_state(operation, State::done);
  }
  EXPECT_EQ(ring.current()->number, 3 * OperationRing::kNumEntries);
  // An operation that has left the ring is not written over its successor.
  Operation old = make(OperationKind::barrier, 0, 0);
  old.ring_number = OperationRing::kNumEntries;
  ring.set_state(old, State::failed);
  EXPECT_EQ(ring.current()->state, State::done);
}

TEST_F(OperationRingTest, RefusesStrangers) {
  EXPECT_FALSE(OperationRing::open(path, 0));
  { OperationRing::create(path, 0); }
  EXPECT_FALSE(OperationRing::open(path, 1));
  std::filesystem::resize_file(path, 100);
  EXPECT_FALSE(OperationRing::open(path, 0));
  EXPECT_THROW(OperationRing::create("/nowhere/at/all.ring", 0), CommunicationError);
}

}  // namespace

}  // namespace moesaic::tests
