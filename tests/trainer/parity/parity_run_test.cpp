// That parity passes is seen by the golden tests; here: that it can fail, and what it refuses.
#include "trainer/parity/parity_run.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/spawn_ranks.h"
#include "tests/support/training_mesh.h"
#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

GoldenCase read_case(const char* name) {
  return read_golden_case(std::filesystem::path(MOESAIC_GOLDEN_DIR) / name);
}

ParityOptions all_in_one(const GoldenCase& golden) {
  return {.micro_batch_size = golden.find("input_ids").size(0)};
}

// Names of the quantities that are not equal.
std::vector<std::string> failures(const GoldenCase& golden) {
  const auto mesh = tests::make_single_mesh();
  std::vector<std::string> names;
  for (const auto& comparison : ParityRun(golden, mesh, all_in_one(golden), nullptr).run()) {
    if (!comparison.ok()) {
      names.push_back(comparison.quantity);
    }
  }
  return names;
}

TEST(ParityRun, EachChangedNumberOfTheReferenceIsFoundAndNothingElse) {
  auto golden = read_case("olmoe");
  ASSERT_EQ(failures(golden), std::vector<std::string>{});
  const auto add = [](at::Tensor& tensor, double value) {
    tensor = tensor.clone();
    tensor.view({-1})[0].add_(value);
  };
  add(golden.reference.at("logits"), 1e-3);
  add(golden.reference.at("loss"), 1e-3);
  add(golden.reference.at("aux_loss"), 1e-3);
  add(golden.gradients.at("model.layers.0.mlp.gate.weight"), 1e-2);
  add(golden.final_weights.at("model.norm.weight"), 1e-2);
  EXPECT_EQ(failures(golden), (std::vector<std::string>{"logits", "loss", "auxiliary value",
                                                        "gradients", "final weights"}));
}

TEST(ParityRun, OneChangedWeightChangesNearlyEverything) {
  auto golden = read_case("olmoe");
  auto& weight = golden.weights.at("model.layers.0.self_attn.v_proj.weight");
  weight = weight.clone();
  weight.view({-1})[0].add_(0.5);
  const auto names = failures(golden);
  for (const char* quantity : {"logits", "loss", "gradients", "AdamW losses", "final weights"}) {
    EXPECT_NE(std::find(names.begin(), names.end(), quantity), names.end()) << quantity;
  }
}

TEST(ParityRun, AWeightThatDoesNotFitTheConfigIsABadFile) {
  auto golden = read_case("olmoe");
  golden.weights.erase("model.norm.weight");
  const auto mesh = tests::make_single_mesh();
  expect_exit_error([&] { ParityRun(golden, mesh, all_in_one(golden), nullptr); },
                    ExitCode::kBadFile, "no tensor model.norm.weight");
}

TEST(ParityRun, LayoutsThatTheCaseCannotHaveAreRefused) {
  const auto golden = read_case("olmoe");
  const auto num_sequences = golden.find("input_ids").size(0);
  const auto mesh = tests::make_single_mesh();
  expect_exit_error(
      [&] { ParityRun(golden, mesh, {.micro_batch_size = num_sequences + 1}, nullptr); },
      ExitCode::kConfiguration, "data.micro_batch_size");
  // formula hf counts over the whole batch before the first backward.
  expect_exit_error([&] { ParityRun(golden, mesh, {.micro_batch_size = 1}, nullptr); },
                    ExitCode::kConfiguration,
                    "--data.micro_batch_size=" + std::to_string(num_sequences));
}

TEST(ParityRun, EveryRankSaysWhatItHeld) {
  const auto golden = read_case("olmoe");
  const auto num_sequences = golden.find("input_ids").size(0);
  ASSERT_EQ(num_sequences % 2, 0);
  tests::spawn_ranks(2, [&](parallel::CommunicatorPtr world) {
    const auto mesh = tests::make_mesh(world, /*expert=*/2);
    ParityRun run(golden, mesh, {.micro_batch_size = num_sequences / 2}, nullptr);
    for (const auto& comparison : run.run()) {
      EXPECT_TRUE(comparison.ok()) << comparison.quantity << " " << comparison.worst;
    }
    const auto report = nlohmann::json::parse(run.rank_json());
    EXPECT_EQ(report.at("rank"), world->rank());
    EXPECT_EQ(report.at("sequences").size(), static_cast<size_t>(num_sequences / 2));
    EXPECT_EQ(report.at("sequences").at(0), world->rank() * num_sequences / 2);
    EXPECT_EQ(report.at("experts").size(), static_cast<size_t>(golden.model.num_experts / 2));
    EXPECT_GT(report.at("bytes_exchanged"), 0);
  });
}

}  // namespace
}  // namespace moesaic::trainer
