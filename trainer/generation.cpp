#include "trainer/generation.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "moe/stateless_random.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

// Tokens by falling logit, the lowest id first among equals, cut at top_k.
std::vector<int64_t> candidates(const std::vector<double>& logits, std::optional<int64_t> top_k) {
  std::vector<int64_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  if (top_k && *top_k < static_cast<int64_t>(ids.size())) {
    ids.resize(*top_k);
  }
  return ids;
}

int64_t sample(const std::vector<double>& logits, const GenerationOptions& options,
               uint64_t position) {
  const auto ids = candidates(logits, options.top_k);
  if (options.temperature == 0.0) {
    return ids.front();
  }
  const double largest = logits[ids.front()];
  std::vector<double> cumulative;
  double total = 0.0;
  for (const int64_t id : ids) {
    total += std::exp((logits[id] - largest) / options.temperature);
    cumulative.push_back(total);
  }
  const double draw =
      total * moe::random_uniform(moe::stream_key(options.seed, "generate", ""), position);
  const auto found = std::upper_bound(cumulative.begin(), cumulative.end(), draw);
  return ids[std::min<size_t>(found - cumulative.begin(), ids.size() - 1)];
}

}  // namespace

std::vector<int64_t> generate(moe::LanguageModel& model, std::vector<int64_t> prompt,
                              const GenerationOptions& options) {
  const at::NoGradGuard no_grad;
  const auto& config = model.config();
  std::vector<int64_t> tokens = std::move(prompt);
  const size_t prompt_length = tokens.size();
  for (int64_t i = 0; i < options.max_new_tokens; ++i) {
    const auto length =
        std::min<int64_t>(static_cast<int64_t>(tokens.size()), config.max_position_embeddings);
    const auto input_ids =
        at::tensor(at::ArrayRef<int64_t>(tokens).slice(tokens.size() - length), at::kLong);
    const auto logits_BSV = model.logits(input_ids.unsqueeze(0), {.training = false});
    const auto last_V = logits_BSV[0][length - 1].to(at::kCPU, at::kDouble).contiguous();
    const auto* data = last_V.const_data_ptr<double>();
    if (!std::all_of(data, data + last_V.numel(),
                     [](double logit) { return std::isfinite(logit); })) {
      throw ExitError(ExitCode::kInternal, "generate: the model's logits are not finite");
    }
    const auto next =
        sample({data, data + last_V.numel()}, options, static_cast<uint64_t>(tokens.size()));
    if (std::find(config.eos_token_id.begin(), config.eos_token_id.end(), next) !=
        config.eos_token_id.end()) {
      break;
    }
    tokens.push_back(next);
  }
  return {tokens.begin() + static_cast<int64_t>(prompt_length), tokens.end()};
}

}  // namespace moesaic::trainer
