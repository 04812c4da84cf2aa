// Everything that is wrong with a configuration, collected so that one run names all of it.
#pragma once

#include "trainer/exit_code.h"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace moesaic::trainer {

class Problems {
 public:
  /// `origin`: file:line:column or the override. `key`: the dotted key, or empty. Exit code 78.
  void add(const std::string& origin, const std::string& key, const std::string& message);
  /// A file or folder that the configuration names is not there. Exit code 66 if nothing else is
  /// wrong.
  void add_missing_file(const std::string& origin, const std::string& key,
                        const std::string& message);

  bool empty() const { return lines_.empty(); }
  /// Whether this key, or a section above it, already has a problem.
  bool has(const std::string& key) const;

  /// Throws ExitError with one line a problem, if there is any.
  void throw_if_any() const;

 private:
  std::vector<std::string> lines_;
  std::set<std::string> keys_;
  bool only_missing_files_ = true;
};

/// The known name that is nearest to a misspelt one, or an empty string if none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace moesaic::trainer
