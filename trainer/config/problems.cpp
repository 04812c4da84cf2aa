#include "trainer/config/problems.h"

#include <numeric>

namespace moesaic::trainer {

void Problems::add(const std::string& origin, const std::string& key, const std::string& message) {
  only_missing_files_ = false;
  lines_.push_back(origin + ": " + (key.empty() ? "" : key + ": ") + message);
  keys_.insert(key);
}

void Problems::add_missing_file(const std::string& origin, const std::string& key,
                                const std::string& message) {
  bool only_missing_files = only_missing_files_;
  add(origin, key, message);
  only_missing_files_ = only_missing_files;
}

bool Problems::has(const std::string& key) const {
  for (std::string_view prefix = key; !prefix.empty();) {
    if (keys_.count(std::string(prefix)) > 0) {
      return true;
    }
    auto dot = prefix.rfind('.');
    prefix = dot == std::string_view::npos ? std::string_view() : prefix.substr(0, dot);
  }
  return false;
}

void Problems::throw_if_any() const {
  if (lines_.empty()) {
    return;
  }
  std::string message = lines_.size() == 1
                            ? lines_.front()
                            : std::to_string(lines_.size()) + " errors in the configuration";
  for (size_t i = 0; lines_.size() > 1 && i < lines_.size(); ++i) {
    message += "\n" + lines_[i];
  }
  throw ExitError(only_missing_files_ ? ExitCode::kNoInput : ExitCode::kConfiguration, message);
}

namespace {

/// Levenshtein's distance; a swap of neighbours counts one.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                             cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  constexpr size_t kMaxLength = 128;
  std::string nearest;
  size_t nearest_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& candidate : known) {
    if (name.size() > kMaxLength) {
      break;
    }
    auto distance = edit_distance(name, candidate);
    if (distance < nearest_distance && distance < candidate.size()) {
      nearest = candidate;
      nearest_distance = distance;
    }
  }
  return nearest;
}

}  // namespace moesaic::trainer
