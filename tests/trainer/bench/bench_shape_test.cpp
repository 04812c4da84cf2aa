#include "trainer/bench/bench_shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/config/config_text.h"

namespace moesaic::trainer {
namespace {

TEST(BenchShape, TypesAreReadByTheirNames) {
  for (const auto* name : {"float32", "float64", "bfloat16"}) {
    EXPECT_EQ(dtype_name(dtype_of(name)), name);
  }
  EXPECT_EQ(accumulation_dtype(dtype_of("bfloat16")), c10::ScalarType::Float);
  EXPECT_EQ(accumulation_dtype(dtype_of("float64")), c10::ScalarType::Double);
  const auto failure = failure_of([] { dtype_of("float23"); });
  EXPECT_EQ(failure.code, ExitCode::kUsage);
  EXPECT_EQ(failure.message,
            "--dtype must be one of float32, float64, bfloat16, is 'float23'; did you mean "
            "'float32'");
}

TEST(BenchShape, SizesThatCannotBeAreUsageErrors) {
  check_shape({});
  check_shape({.num_experts = 8, .top_k = 8});
  auto failure = failure_of([] { check_shape({.num_experts = 7, .top_k = 8}); });
  EXPECT_EQ(failure.code, ExitCode::kUsage);
  EXPECT_EQ(failure.message, "--top-k: 8 is more than --experts, 7");
  // Sizes whose product is beyond int64 too.
  failure = failure_of([] { check_shape({.tokens = int64_t{1} << 60}); });
  EXPECT_EQ(failure.code, ExitCode::kUsage);
  EXPECT_THAT(failure.message, testing::HasSubstr("elements, at most"));
}

}  // namespace
}  // namespace moesaic::trainer
