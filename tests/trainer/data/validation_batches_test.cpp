#include "trainer/data/validation_batches.h"

#include <map>

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kLength = 3;

struct Case {
  int64_t num_windows;
  int64_t micro_batch_size;
};

class ValidationBatchesTest : public testing::TestWithParam<Case> {};

TEST_P(ValidationBatchesTest, EveryWindowOnceAndEqualPassesOnAllRanks) {
  const auto [num_windows, micro] = GetParam();
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, num_windows, kLength);
  for (const int64_t data_size : {1, 2, 3, 4}) {
    std::map<int64_t, int64_t> times_seen;
    const int64_t passes = (num_windows + micro * data_size - 1) / (micro * data_size);
    for (int64_t rank = 0; rank < data_size; ++rank) {
      const ValidationBatches batches(windows, micro, rank, data_size);
      EXPECT_EQ(batches.num_passes(), passes);
      for (int64_t pass = 0; pass < passes; ++pass) {
        const auto batch = batches.batch(pass);
        ASSERT_EQ(batch.input_ids_BS.sizes(), (at::IntArrayRef{micro, kLength}));
        ASSERT_EQ(batch.targets_BS.sizes(), (at::IntArrayRef{micro, kLength}));
        EXPECT_EQ(batch.first_sequence, (pass * data_size + rank) * micro);
        for (int64_t i = 0; i < micro * kLength; ++i) {
          const int64_t window = batch.first_sequence + i / kLength;
          const int64_t input = batch.input_ids_BS.const_data_ptr<int64_t>()[i];
          const int64_t target = batch.targets_BS.const_data_ptr<int64_t>()[i];
          if (window < num_windows) {
            EXPECT_EQ(input, window * kLength + i % kLength);
            EXPECT_EQ(target, input + 1);
            ++times_seen[target];
          } else {
            EXPECT_EQ(input, 0);
            EXPECT_EQ(target, moe::kIgnoredTarget);
          }
        }
      }
    }
    EXPECT_EQ(std::ssize(times_seen), num_windows * kLength);
    for (const auto& [target, times] : times_seen) {
      EXPECT_EQ(times, 1) << "target " << target << " on " << data_size << " ranks";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ValidationBatchesTest,
                         testing::Values(Case{1, 1}, Case{1, 4}, Case{5, 2}, Case{8, 2},
                                         Case{13, 4}, Case{12, 1}),
                         [](const auto& info) {
                           return std::to_string(info.param.num_windows) + "WindowsBy" +
                                  std::to_string(info.param.micro_batch_size);
                         });

TEST(ValidationBatchesCallTest, WrongRanksAndPassesAreMistakesOfTheCaller) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 5, kLength);
  EXPECT_THROW(ValidationBatches(windows, 0, 0, 1), std::invalid_argument);
  EXPECT_THROW(ValidationBatches(windows, 1, 1, 1), std::invalid_argument);
  EXPECT_THROW(ValidationBatches(windows, 2, 0, 1).batch(3), std::out_of_range);
}

}  // namespace
}  // namespace moesaic::trainer
