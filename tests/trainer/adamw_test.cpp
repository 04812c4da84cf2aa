#include "trainer/adamw.h"

#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"
#include "tests/support/tensor_check.h"
#include "tests/support/training_mesh.h"

namespace moesaic::trainer {
namespace {

using tests::all_close;
using tests::all_equal;
using tests::random_tensor;

// Two groups, one of them with a gap of alignment between its parameters.
struct Parameters {
  explicit Parameters(at::ScalarType dtype)
      : store(mesh,
              {{"a", {3, 5}, "data", "", &a},
               {"experts", {4, 2}, "expert_data", "expert", &experts},
               {"b", {7}, "data", "", &b}},
              dtype) {
    uint64_t seed = 1;
    for (auto& group : store.groups()) {
      group.values.copy_(random_tensor(group.values.sizes(), seed++));
    }
  }
  void fill_gradients(int64_t step) {
    uint64_t seed = 10 + 10 * static_cast<uint64_t>(step);
    for (auto& group : store.groups()) {
      group.gradients.copy_(random_tensor(group.gradients.sizes(), seed++));
    }
  }
  parallel::DeviceMesh mesh = tests::make_single_mesh();
  at::Tensor a;
  at::Tensor experts;
  at::Tensor b;
  parallel::ParameterStore store;
};

OptimizerOptions make_options() {
  OptimizerOptions options;
  options.betas = {0.8, 0.95};
  options.eps = 1e-3;  // large enough to be seen
  options.weight_decay = 0.1;
  return options;
}

// Algorithm 2 of 1711.05101, in double, element by element.
struct Textbook {
  std::vector<double> value;
  std::vector<double> m;
  std::vector<double> v;
  explicit Textbook(const at::Tensor& start) : m(start.numel(), 0.0), v(start.numel(), 0.0) {
    const auto x = start.to(at::kDouble);
    value.assign(x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel());
  }
  void step(const at::Tensor& gradient, double lr, int64_t t, const OptimizerOptions& options) {
    const auto gradients = gradient.to(at::kDouble);
    const double correction1 = 1.0 - std::pow(options.betas[0], t);
    const double correction2 = 1.0 - std::pow(options.betas[1], t);
    for (size_t i = 0; i < value.size(); ++i) {
      const double g = gradients.const_data_ptr<double>()[i];
      m[i] = options.betas[0] * m[i] + (1.0 - options.betas[0]) * g;
      v[i] = options.betas[1] * v[i] + (1.0 - options.betas[1]) * g * g;
      const double update = (m[i] / correction1) / (std::sqrt(v[i] / correction2) + options.eps);
      value[i] -= lr * (update + options.weight_decay * value[i]);
    }
  }
};

TEST(AdamW, IsTheTextbookUpdate) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    Parameters parameters(dtype);
    const auto options = make_options();
    AdamW optimizer(parameters.store, options);
    auto& groups = parameters.store.groups();
    ASSERT_EQ(groups.size(), 2u);
    std::vector<Textbook> expected;
    for (const auto& group : groups) {
      expected.emplace_back(group.values);
    }
    for (int64_t step = 0; step < 6; ++step) {
      const double lr = 0.05 / static_cast<double>(step + 1);
      parameters.fill_gradients(step);
      optimizer.step(lr);
      for (size_t g = 0; g < groups.size(); ++g) {
        expected[g].step(groups[g].gradients, lr, step + 1, options);
      }
    }
    const double tolerance = dtype == at::kDouble ? 1e-13 : 1e-5;
    for (size_t g = 0; g < groups.size(); ++g) {
      const auto as_tensor = [&](const std::vector<double>& x) {
        return at::tensor(x, at::kDouble).to(dtype);
      };
      EXPECT_TRUE(all_close(groups[g].values, as_tensor(expected[g].value), tolerance, tolerance));
      EXPECT_TRUE(
          all_close(optimizer.exp_avg()[g], as_tensor(expected[g].m), tolerance, tolerance));
      EXPECT_TRUE(
          all_close(optimizer.exp_avg_sq()[g], as_tensor(expected[g].v), tolerance, tolerance));
    }
    EXPECT_EQ(optimizer.num_updates(), 6);
  }
}

TEST(AdamW, DecaysAlsoWhatHasNoGradient) {
  Parameters parameters(at::kDouble);
  AdamW optimizer(parameters.store, make_options());
  const auto before = parameters.a.detach().clone();
  optimizer.step(0.5);
  EXPECT_TRUE(all_close(parameters.a.detach(), before.mul(1.0 - 0.5 * 0.1), 1e-15, 0));
}

// What a resumed run does: the moments and the number of updates are all the state there is.
TEST(AdamW, GoesOnFromItsMomentsAndItsCount) {
  Parameters uninterrupted(at::kDouble);
  Parameters resumed(at::kDouble);
  AdamW first(uninterrupted.store, make_options());
  AdamW second(resumed.store, make_options());
  for (int64_t step = 0; step < 3; ++step) {
    uninterrupted.fill_gradients(step);
    first.step(0.1);
  }
  for (size_t g = 0; g < 2; ++g) {
    resumed.store.groups()[g].values.copy_(uninterrupted.store.groups()[g].values);
    second.exp_avg()[g].copy_(first.exp_avg()[g]);
    second.exp_avg_sq()[g].copy_(first.exp_avg_sq()[g]);
  }
  second.set_num_updates(first.num_updates());
  uninterrupted.fill_gradients(3);
  resumed.fill_gradients(3);
  first.step(0.1);
  second.step(0.1);
  for (size_t g = 0; g < 2; ++g) {
    EXPECT_TRUE(
        all_equal(resumed.store.groups()[g].values, uninterrupted.store.groups()[g].values));
  }
}

}  // namespace
}  // namespace moesaic::trainer
