// YAML text -> ConfigNode. The only file that knows yaml-cpp, and only its stream of events: no
// graph of nodes is ever built, so aliases, cycles and deep nesting cannot hurt.
#pragma once

#include "trainer/config/config_node.h"
#include "trainer/config/problems.h"

#include <string>
#include <string_view>

namespace moesaic::trainer {

/// Parses one document whose top level is a map. `name` is the file's name in messages.
/// Throws ExitError(kConfiguration) with name:line:column for malformed text, anchors, aliases,
/// merge keys, tags, a second document, more than 32 levels or 10 000 nodes. Duplicate keys go to
/// `problems`; the first one stays.
ConfigNode parse_yaml(std::string_view text, const std::string& name, Problems& problems);

/// Parses one value as it stands behind `=` of an override; `origin` is the whole override.
/// Text that opens with [, {, " or ' is YAML; anything else is one plain scalar.
ConfigNode parse_override_value(std::string_view text, const std::string& origin,
                                Problems& problems);

}  // namespace moesaic::trainer
