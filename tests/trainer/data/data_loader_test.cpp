#include "trainer/data/data_loader.h"

#include <ATen/Functions.h>

#include <map>
#include <random>
#include <set>

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kLength = 4;

// The first input token of every sequence of a step, by its index in the global batch: with
// counting_windows token / kLength is the window.
std::map<int64_t, int64_t> windows_of_step(DataLoader& loader, int64_t step) {
  std::map<int64_t, int64_t> windows;
  for (const auto& batch : loader.next(step)) {
    for (int64_t row = 0; row < batch.input_ids_BS.size(0); ++row) {
      windows[batch.first_sequence + row] =
          batch.input_ids_BS.const_data_ptr<int64_t>()[row * kLength] / kLength;
    }
  }
  return windows;
}

// The global batch of a step, put together from all data ranks.
std::map<int64_t, int64_t> global_batch(std::vector<std::unique_ptr<DataLoader>>& ranks,
                                        int64_t step) {
  std::map<int64_t, int64_t> windows;
  for (auto& rank : ranks) {
    const auto part = windows_of_step(*rank, step);
    const size_t before = windows.size();
    windows.insert(part.begin(), part.end());
    EXPECT_EQ(windows.size(), before + part.size()) << "a sequence is on two ranks";
  }
  return windows;
}

std::vector<std::unique_ptr<DataLoader>> make_ranks(std::shared_ptr<const TokenWindows> windows,
                                                    const DataLoaderOptions& options,
                                                    int64_t data_size) {
  std::vector<std::unique_ptr<DataLoader>> ranks;
  for (int64_t rank = 0; rank < data_size; ++rank) {
    ranks.push_back(std::make_unique<DataLoader>(windows, options, rank, data_size));
  }
  return ranks;
}

TEST(DataLoaderTest, TargetsAreTheInputsShiftedByOne) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 10, kLength);
  DataLoader loader(windows, {.global_batch_size = 6, .micro_batch_size = 2}, 0, 1);
  const auto batches = loader.next(0);
  ASSERT_EQ(batches.size(), 3u);
  for (const auto& batch : batches) {
    EXPECT_EQ(batch.input_ids_BS.sizes(), (at::IntArrayRef{2, kLength}));
    EXPECT_EQ(batch.input_ids_BS.scalar_type(), at::kLong);
    EXPECT_TRUE(at::equal(batch.targets_BS, batch.input_ids_BS.add(1)));
  }
  EXPECT_EQ(batches[1].first_sequence, 2);
  EXPECT_EQ(batches[2].first_sequence, 4);
}

TEST(DataLoaderTest, EachRankTakesARunOfWholeMicroBatches) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 10, kLength);
  DataLoader loader(windows, {.global_batch_size = 16, .micro_batch_size = 2}, 1, 4);
  EXPECT_EQ(loader.num_micro_batches(), 2);
  const auto batches = loader.next(5);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].first_sequence, 4);
  EXPECT_EQ(batches[1].first_sequence, 6);
}

// 23 windows in global batches of 8: epochs end within a batch. 23 steps are 8 epochs.
TEST(DataLoaderTest, EveryLayoutSeesTheSameGlobalBatchesAndEverySampleOnceAnEpoch) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 23, kLength);
  std::vector<int64_t> reference;
  for (const int64_t data_size : {1, 2, 4}) {
    for (const int64_t micro : {1, 2, 8}) {
      if (8 % (micro * data_size) != 0) {
        continue;
      }
      auto ranks = make_ranks(
          windows, {.global_batch_size = 8, .micro_batch_size = micro, .seed = 9}, data_size);
      std::vector<int64_t> stream;
      for (int64_t step = 0; step < 23; ++step) {
        const auto batch = global_batch(ranks, step);
        ASSERT_EQ(batch.size(), 8u);
        for (const auto& [position, window] : batch) {
          stream.push_back(window);
        }
      }
      reference = reference.empty() ? stream : reference;
      EXPECT_EQ(stream, reference) << data_size << " ranks, micro-batches of " << micro;
    }
  }
  for (int64_t epoch = 0; epoch < 8; ++epoch) {
    const auto begin = reference.begin() + 23 * epoch;
    EXPECT_EQ(std::set<int64_t>(begin, begin + 23).size(), 23u) << "epoch " << epoch;
  }
}

TEST(DataLoaderTest, ResumedAtAnyStepWithAnyLayoutAndDepthItGoesOnTheSame) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 23, kLength);
  auto uninterrupted =
      make_ranks(windows, {.global_batch_size = 8, .micro_batch_size = 2, .seed = 3}, 1);
  std::vector<std::map<int64_t, int64_t>> expected;
  for (int64_t step = 0; step < 40; ++step) {
    expected.push_back(global_batch(uninterrupted, step));
  }
  std::mt19937 random(2);
  for (int64_t step = 0; step < 40;) {  // a run that is killed and resumed again and again
    const int64_t data_size = int64_t{1} << random() % 3;
    const int64_t depth = std::vector<int64_t>{1, 4, 64}[random() % 3];
    auto ranks = make_ranks(
        windows,
        {.global_batch_size = 8, .micro_batch_size = 2, .seed = 3, .prefetch_depth = depth},
        data_size);
    for (const int64_t end = step + 1 + static_cast<int64_t>(random() % 3);
         step < std::min<int64_t>(end, 40); ++step) {
      ASSERT_EQ(global_batch(ranks, step), expected[static_cast<size_t>(step)]) << "step " << step;
    }
  }
}

TEST(DataLoaderTest, TheSeedChangesTheOrder) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 100, kLength);
  DataLoader a(windows, {.global_batch_size = 50, .seed = 1}, 0, 1);
  DataLoader b(windows, {.global_batch_size = 50, .seed = 2}, 0, 1);
  EXPECT_NE(windows_of_step(a, 0), windows_of_step(b, 0));
  EXPECT_NE(windows_of_step(a, 0), windows_of_step(a, 2)) << "epochs are shuffled anew";
  EXPECT_EQ(a.epoch(1), 0);
  EXPECT_EQ(a.epoch(2), 1);
}

TEST(DataLoaderTest, ABadTokenSurfacesInItsStepWithFileAndByte) {
  TemporaryFolder folder;
  std::vector<int64_t> tokens(41, 1);
  tokens[40] = 9;  // the last target of the last window
  write_dataset(folder.path("x"), {tokens});
  const auto windows =
      std::make_shared<TokenWindows>(std::vector<std::string>{folder.path("x")}, kLength, 5);
  DataLoader loader(windows, {.global_batch_size = 1, .prefetch_depth = 4}, 0, 1);
  int64_t failures = 0;
  for (int64_t step = 0; step < 10; ++step) {
    try {
      loader.next(step);
    } catch (const ExitError& error) {
      ++failures;
      EXPECT_EQ(SampleOrder(0, 10).sample_at(step), 9);
      EXPECT_EQ(static_cast<int>(error.code()), 65);
      EXPECT_NE(std::string(error.what()).find("x.bin: byte 80"), std::string::npos)
          << error.what();
    }
  }
  EXPECT_EQ(failures, 1);
}

TEST(DataLoaderTest, ATruncatedFileSurfacesAsBadData) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 10, kLength);
  DataLoader loader(windows, {.global_batch_size = 10, .prefetch_depth = 1}, 0, 1);
  std::filesystem::resize_file(folder.path("counting.bin"), 10);
  expect_exit_error([&] { loader.next(0); }, ExitCode::kBadFile, "counting.bin: byte");
}

TEST(DataLoaderTest, SizesThatDoNotDivideAreConfigurationErrors) {
  TemporaryFolder folder;
  const auto windows = counting_windows(folder, 10, kLength);
  const auto make = [&](int64_t global, int64_t micro, int64_t data_size) {
    DataLoader(windows, {.global_batch_size = global, .micro_batch_size = micro}, 0, data_size);
  };
  expect_exit_error([&] { make(8, 3, 1); }, ExitCode::kConfiguration, "found 8 for 3 x 1");
  expect_exit_error([&] { make(8, 2, 3); }, ExitCode::kConfiguration, "found 8 for 2 x 3");
  expect_exit_error([&] { make(0, 1, 1); }, ExitCode::kConfiguration, "found 0 for 1 x 1");
  EXPECT_THROW(DataLoader(windows, {}, 2, 2), std::invalid_argument);
}

TEST(DataLoaderTest, AStepOutsideTheRangeIsAMistakeOfTheCaller) {
  TemporaryFolder folder;
  DataLoader loader(counting_windows(folder, 10, kLength), {.global_batch_size = 10}, 0, 1);
  EXPECT_THROW(loader.next(-1), std::out_of_range);
  EXPECT_THROW(loader.next(INT64_MAX), std::out_of_range);
  EXPECT_EQ(loader.next(0).size(), 10u);
}

}  // namespace
}  // namespace moesaic::trainer
