// The order of a run, on a device whose clock is part of the test.
#include "trainer/bench/bench_run.h"

#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/trainer/config/config_text.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

/// Runs everything and says of the n-th timing what it is told to.
class CountingDevice : public BenchDevice {
 public:
  explicit CountingDevice(std::function<double(int64_t)> seconds)
      : BenchDevice(at::kCPU, /*flush_bytes=*/64), seconds_(std::move(seconds)) {}

  std::string description() const override { return "counting"; }
  double time(const std::function<void()>& body) override {
    body();
    return seconds_(num_timings++);
  }
  void copy(const at::Tensor& destination, const at::Tensor& source) override {
    if (copies) {
      auto to = destination;
      to.copy_(source);
    }
  }

  int64_t num_timings = 0;
  bool copies = true;

 private:
  std::function<double(int64_t)> seconds_;
};

BenchCase counted_case(const std::string& name, Bound bound, int& num_runs) {
  BenchCase bench_case = {name, bound, {.flops = 60.0, .bytes = 30.0}};
  bench_case.run = [&num_runs] { ++num_runs; };
  bench_case.mismatch = [] { return std::string(); };
  return bench_case;
}

const BenchRunOptions kSmall = {.rounds = 3, .product_size = 4, .copy_bytes = 1024};

TEST(BenchRun, EveryRoundRunsEverythingOnceAndTheFirstIsNotCounted) {
  int compute_runs = 0;
  int memory_runs = 0;
  // Four timings a round: product, copy, compute, memory; round r takes r times as long, and round
  // 0 a hundredth.
  CountingDevice device([](int64_t n) {
    const double seconds[] = {2.0, 4.0, 3.0, 5.0};
    const auto round = static_cast<double>(n / 4);
    return seconds[n % 4] * (round == 0 ? 0.01 : round);
  });
  const auto report = run_bench(device,
                                {counted_case("compute", Bound::kCompute, compute_runs),
                                 counted_case("memory", Bound::kMemory, memory_runs)},
                                kSmall);
  EXPECT_EQ(device.num_timings, 16);
  EXPECT_EQ(compute_runs, 4);
  EXPECT_EQ(memory_runs, 4);
  EXPECT_EQ(report.product.time.best_s, 2.0);
  EXPECT_EQ(report.product.time.median_s, 4.0);
  EXPECT_EQ(report.product.rate.best, 2 * 4 * 4 * 4 / 2.0);
  EXPECT_EQ(report.copy.rate.best, 2 * 1024 / 4.0);
  ASSERT_EQ(report.results.size(), 2);
  EXPECT_EQ(report.results[0].rate.best, 60.0 / 3.0);
  EXPECT_EQ(report.results[0].rate.median, 60.0 / 6.0);
  EXPECT_DOUBLE_EQ(report.results[0].fraction.best, (60.0 / 3.0) / (128 / 2.0));
  EXPECT_EQ(report.results[1].rate.best, 30.0 / 5.0);
  EXPECT_DOUBLE_EQ(report.results[1].fraction.median, (30.0 / 10.0) / (2048 / 8.0));
}

TEST(BenchRun, AWrongResultIsCode70BeforeAnythingIsTimed) {
  int runs = 0;
  CountingDevice device([](int64_t) { return 1.0; });
  auto wrong = counted_case("fast_operator", Bound::kCompute, runs);
  wrong.mismatch = [] { return std::string("output 0: element 3 is 1, expected 2"); };
  const auto failure = failure_of([&] {
    run_bench(device, {counted_case("first", Bound::kCompute, runs), wrong}, kSmall);
  });
  EXPECT_EQ(failure.code, ExitCode::kInternal);
  EXPECT_EQ(failure.message,
            "bench: fast_operator is not equal to its reference: output 0: element 3 is 1, "
            "expected 2");
  EXPECT_EQ(device.num_timings, 0);
  EXPECT_EQ(runs, 0);
}

TEST(BenchRun, ACopyThatCopiesNothingIsNoYardstick) {
  CountingDevice device([](int64_t) { return 1.0; });
  device.copies = false;
  const auto failure = failure_of([&] { run_bench(device, {}, kSmall); });
  EXPECT_EQ(failure.code, ExitCode::kInternal);
  EXPECT_THAT(failure.message, HasSubstr("copy 0 MiB is not equal"));
}

TEST(BenchDevice, TheCpuTimesWhatItRunsAndCopies) {
  const auto device = make_bench_device(at::kCPU);
  EXPECT_THAT(device->description(), HasSubstr("cpu, "));
  bool ran = false;
  EXPECT_GT(device->time([&] { ran = true; }), 0.0);
  EXPECT_TRUE(ran);
  const auto source = at::arange(3'000'001, at::kLong);  // more than one piece, and an odd one
  const auto destination = at::zeros_like(source);
  device->copy(destination, source);
  EXPECT_TRUE(at::equal(destination, source));
  device->flush_caches();
}

TEST(BenchDevice, ADeviceThatIsNotThereIsCode78) {
  const auto failure = failure_of([] { make_bench_device(at::Device(at::kCUDA, 99)); });
  EXPECT_EQ(failure.code, ExitCode::kConfiguration);
  EXPECT_THAT(failure.message, HasSubstr("trainer.device: cuda:99: this "));
}

}  // namespace
}  // namespace moesaic::trainer
