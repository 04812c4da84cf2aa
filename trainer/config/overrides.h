// Overrides of the command line, --section.key=value, put into the tree before it is read; so
// they go through the same checks as the file.
#pragma once

#include "trainer/config/config_node.h"
#include "trainer/config/problems.h"

#include <string>
#include <vector>

namespace moesaic::trainer {

/// The dotted key of `--section.key=value`. Throws ExitError(kUsage) for anything else.
std::string override_key(const std::string& override_text);

/// Applies overrides to `root`. A number in the path names an element of a list; the index after
/// the last appends. `defaults` holds every list that the file leaves out.
void apply_overrides(const std::vector<std::string>& overrides, const ConfigNode& defaults,
                     ConfigNode& root, Problems& problems);

}  // namespace moesaic::trainer
