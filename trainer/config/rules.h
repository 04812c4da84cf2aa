// Rules between keys, once each key has its right type: what divides what, what excludes what.
#pragma once

#include "moe/model/model_config.h"
#include "trainer/config/config.h"
#include "trainer/config/problems.h"

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>

namespace moesaic::trainer {

/// Notes the rules that do not hold, at the place where the first of their keys was given. A rule
/// about a key that is already wrong is skipped.
class RuleChecker {
 public:
  /// `origins`: see Config. `prefix`: dotted prefix of all keys that require() is given, with dot.
  RuleChecker(const std::map<std::string, std::string>& origins, Problems& problems,
              std::string prefix = "")
      : origins_(origins), problems_(problems), prefix_(std::move(prefix)) {}

  void require(bool holds, std::initializer_list<std::string> keys, const std::string& message);
  /// Whether all these keys are free of problems so far: ask before dividing by one.
  bool usable(std::initializer_list<std::string> keys) const;

 private:
  const std::map<std::string, std::string>& origins_;
  Problems& problems_;
  std::string prefix_;
};

/// What an OLMoE-shaped model must fulfil for this program to run it.
void check_model(const moe::ModelConfig& model, RuleChecker& rules);

/// What the auxiliary losses must fulfil among themselves.
void check_balance(const moe::MoeOptions& moe, RuleChecker& rules);

/// All rules. Those about the ranks are left out where `world_size` is not known.
void check_rules(const Config& config, std::optional<int64_t> world_size, Problems& problems);

}  // namespace moesaic::trainer
