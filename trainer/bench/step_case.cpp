// Shapes: B sequences of a micro-batch, S positions.
#include "trainer/bench/step_case.h"

#include <algorithm>
#include <memory>

#include "trainer/bench/random_values.h"
#include "trainer/exit_code.h"
#include "trainer/training_state.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kHeadTokens = 1024;  // the reference makes all logits at once

// On the CPU, like every batch: the model moves what it computes with.
std::vector<moe::MicroBatch> synthetic_batch(const Config& config) {
  const auto& data = config.data;
  const std::vector<int64_t> sizes = {data.micro_batch_size, data.sequence_length + 1};
  std::vector<moe::MicroBatch> batch;
  for (int64_t first = 0; first < data.global_batch_size; first += data.micro_batch_size) {
    const auto tokens = random_indices(sizes, static_cast<uint64_t>(first) + 1, at::kCPU,
                                       config.model.config.vocab_size);
    batch.push_back({tokens.narrow(1, 0, data.sequence_length).contiguous(),
                     tokens.narrow(1, 1, data.sequence_length).contiguous(), first});
  }
  return batch;
}

BenchShape micro_batch_shape(const Config& config) {
  const auto& model = config.model.config;
  BenchShape shape;
  shape.tokens = config.data.micro_batch_size * config.data.sequence_length;
  shape.hidden_size = model.hidden_size;
  shape.num_experts = model.num_experts;
  shape.top_k = model.num_experts_per_tok;
  shape.intermediate_size = model.intermediate_size;
  shape.vocab_size = model.vocab_size;
  shape.dtype = parameter_dtype(config);
  return shape;
}

}  // namespace

std::vector<BenchCase> step_parts(const Config& config, at::Device device) {
  auto shape = micro_batch_shape(config);
  std::vector<BenchCase> parts = {layer_case(shape, config.model.config.norm_topk_prob, device)};
  shape.tokens = std::min(shape.tokens, kHeadTokens);
  for (auto& part : linear_cross_entropy_cases(shape, device)) {
    parts.push_back(std::move(part));
  }
  return parts;
}

BenchCase step_case(const Config& config, const parallel::DeviceMesh& mesh, at::Device device) {
  const auto& data = config.data;
  const int64_t tokens = data.global_batch_size * data.sequence_length;
  const auto state =
      std::make_shared<TrainingState>(mesh, training_options(config, device), /*fault=*/nullptr);
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(parameter_dtype(config)));

  BenchCase bench_case = {
      "training step", Bound::kCompute,
      step_work(config.model.config, tokens, data.sequence_length, element_bytes),
      static_cast<double>(tokens)};
  bench_case.run =
      [state, batch = synthetic_batch(config),
       shape = moe::StepShape{data.global_batch_size, data.sequence_length, data.micro_batch_size},
       lr = config.optimizer.lr] {
        if (state->train_step(batch, shape, lr).skipped) {
          throw ExitError(ExitCode::kInternal, "bench: a training step was not finite");
        }
      };
  bench_case.mismatch = [config, device] {
    std::vector<std::string> texts;
    for (const auto& part : step_parts(config, device)) {
      const auto text = part.mismatch();
      texts.push_back(text.empty() ? "" : part.name + ": " + text);
    }
    return all_differences(texts);
  };
  return bench_case;
}

}  // namespace moesaic::trainer
