// The state of a training run as a checkpoint: the files are the same, byte for byte, whichever
// layout writes them, and every layout gets back what any other wrote.
#include "trainer/model_checkpoint.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "tests/support/spawn_ranks.h"
#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::HasSubstr;
using trainer::Config;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::ParameterType;
using trainer::RunState;
using trainer::SavedCheckpoint;
using trainer::TrainingState;

struct Layout {
  int num_ranks;
  int expert;
};
// Six experts: four expert ranks own 2, 2, 1 and 1 of them.
constexpr Layout kLayouts[] = {{1, 1}, {2, 1}, {2, 2}, {4, 1}, {4, 2}, {4, 4}};

Config small_config(ParameterType type = ParameterType::kFloat32, int64_t seed = 0) {
  Config config;
  auto& model = config.model.config;
  model.vocab_size = 300;
  model.hidden_size = 16;
  model.intermediate_size = 8;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.max_position_embeddings = 32;
  model.num_experts = 6;
  model.num_experts_per_tok = 2;
  model.pad_token_id = std::nullopt;
  model.eos_token_id = {256};
  config.moe.load_balance.coef = 0.01;
  config.trainer.precision.parameter = type;
  config.trainer.seed = seed;
  return config;
}

template <typename Body>
void with_state(const Layout& layout, const Config& config, Body&& body) {
  spawn_ranks(layout.num_ranks, [&](parallel::CommunicatorPtr world) {
    const auto mesh = parallel::DeviceMesh::for_training(
        world, /*pipeline=*/1, layout.num_ranks / layout.expert, layout.expert);
    TrainingState state(mesh, trainer::training_options(config, at::kCPU), /*fault=*/nullptr);
    body(state);
  });
}

// No two elements alike, so that none can take another's place.
void fill_moments(TrainingState& state) {
  double first = 1.0;
  for (const auto* moments : {&state.optimizer().exp_avg(), &state.optimizer().exp_avg_sq()}) {
    for (const auto& flat : *moments) {
      flat.copy_(at::arange(flat.numel(), at::kDouble).add_(first));
      first += static_cast<double>(flat.numel());
    }
  }
}

RunState run_state_at(int64_t step) {
  return {.step = step,
          .num_tokens = 1000 * step,
          .num_updates = step - 1,
          .skipped_in_a_row = 1,
          .data_fingerprint = "f00d",
          .configuration = "name: test\n"};
}

// Every .safetensors file, and the index that says which tensor lies where.
std::map<std::string, std::string> tensor_files(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".index.json")) {
      files[name] = read_bytes(entry.path());
    }
  }
  return files;
}

trainer::RunState load(TrainingState& state, const std::filesystem::path& folder) {
  const auto run = trainer::read_run_state(*state.mesh().world(), folder);
  trainer::load_training_checkpoint(state, run, folder);
  return run;
}

class ModelCheckpoint : public CheckpointFixture {
 protected:
  // What rank 0 was told. `fill`: see fill_moments.
  SavedCheckpoint save(const Layout& layout, const Config& config, const std::string& name,
                       const std::optional<std::filesystem::path>& load_from, bool fill = false) {
    SavedCheckpoint result;
    with_state(layout, config, [&](TrainingState& state) {
      if (load_from) {
        load(state, *load_from);
      }
      if (fill) {
        fill_moments(state);
      }
      const auto saved =
          trainer::save_training_checkpoint(state, run_state_at(7), config, root() / name);
      if (state.mesh().world()->rank() == 0) {
        result = saved;
      }
    });
    return result;
  }

  void expect_same_files(const SavedCheckpoint& actual, const SavedCheckpoint& expected) {
    EXPECT_EQ(actual.tensors.hex(), expected.tensors.hex());
    const auto expected_files = tensor_files(expected.path);
    EXPECT_THAT(expected_files, testing::SizeIs(testing::Ge(3)));
    const auto actual_files = tensor_files(actual.path);
    ASSERT_EQ(actual_files.size(), expected_files.size());
    for (const auto& [name, bytes] : expected_files) {
      ASSERT_TRUE(actual_files.contains(name)) << name;
      EXPECT_TRUE(actual_files.at(name) == bytes) << name << " has other bytes";
    }
  }
};

TEST_F(ModelCheckpoint, EveryLayoutWritesTheSameBytesFromTheSameState) {
  for (const auto type : {ParameterType::kFloat32, ParameterType::kFloat64}) {
    const std::string kind = type == ParameterType::kFloat64 ? "float64" : "float32";
    const auto original =
        save({1, 1}, small_config(type), kind + "-original", std::nullopt, /*fill=*/true);
    for (const auto& layout : kLayouts) {
      SCOPED_TRACE(testing::Message() << kind << ", " << layout.num_ranks << " ranks, "
                                      << layout.expert << " of them share the experts");
      // Another seed: what is not read from the checkpoint shows.
      const auto again =
          save(layout, small_config(type, /*seed=*/1),
               kind + std::to_string(10 * layout.num_ranks + layout.expert), original.path);
      expect_same_files(again, original);
    }
  }
}

TEST_F(ModelCheckpoint, EveryLayoutBeginsWithTheSameWeights) {
  const auto original = save({1, 1}, small_config(), "original", std::nullopt);
  for (const auto& layout : kLayouts) {
    SCOPED_TRACE(testing::Message() << layout.num_ranks << " ranks, " << layout.expert);
    const auto name = std::to_string(10 * layout.num_ranks + layout.expert);
    expect_same_files(save(layout, small_config(), name, std::nullopt), original);
  }
  const auto other = save({1, 1}, small_config(ParameterType::kFloat32, 1), "other", std::nullopt);
  EXPECT_NE(other.tensors.hex(), original.tensors.hex()) << "the seed has no effect";
}

TEST_F(ModelCheckpoint, TheStateOfTheRunComesBack) {
  const auto saved = save({2, 2}, small_config(), "original", std::nullopt);
  with_state({4, 2}, small_config(), [&](TrainingState& state) {
    const auto run = load(state, saved.path);
    const auto expected = run_state_at(7);
    EXPECT_EQ(run.step, expected.step);
    EXPECT_EQ(run.num_tokens, expected.num_tokens);
    EXPECT_EQ(run.num_updates, expected.num_updates);
    EXPECT_EQ(run.skipped_in_a_row, expected.skipped_in_a_row);
    EXPECT_EQ(run.data_fingerprint, expected.data_fingerprint);
    EXPECT_EQ(run.configuration, expected.configuration);
    EXPECT_EQ(state.optimizer().num_updates(), expected.num_updates);
  });
}

TEST_F(ModelCheckpoint, AnotherModelIsRefusedOnEveryRank) {
  const auto saved = save({1, 1}, small_config(), "original", std::nullopt);
  auto config = small_config();
  config.model.config.num_experts = 7;
  std::mutex mutex;
  int num_refusals = 0;
  with_state({2, 2}, config, [&](TrainingState& state) {
    try {
      load(state, saved.path);
      ADD_FAILURE() << "seven experts were read from a checkpoint of six";
    } catch (const ExitError& error) {
      EXPECT_EQ(error.code(), ExitCode::kStorage);
      EXPECT_THAT(error.what(), HasSubstr("model.layers.0.mlp.experts.6."));
      EXPECT_THAT(error.what(), HasSubstr("model.layers.0.mlp.gate.weight is F32 [6, 16]"));
      const std::lock_guard lock(mutex);
      ++num_refusals;
    }
  });
  EXPECT_EQ(num_refusals, 2);
}

TEST_F(ModelCheckpoint, WeightsAloneStartARun) {
  const auto saved = save({4, 4}, small_config(), "original", std::nullopt, /*fill=*/true);
  with_state({2, 2}, small_config(ParameterType::kFloat32, /*seed=*/1), [&](TrainingState& state) {
    trainer::load_weights(state.model(), saved.path);
    for (const auto& flat : state.optimizer().exp_avg()) {
      EXPECT_EQ(flat.abs().max().item<double>(), 0.0) << "moments were read too";
    }
    trainer::save_training_checkpoint(state, run_state_at(1), small_config(), root() / "again");
  });
  const auto expected = tensor_files(saved.path);
  const auto actual = tensor_files(root() / "again" / "step-000001");
  EXPECT_TRUE(actual.at("model.safetensors") == expected.at("model.safetensors"));
  EXPECT_FALSE(actual.at("optimizer.safetensors") == expected.at("optimizer.safetensors"));
}

}  // namespace
}  // namespace moesaic::tests
