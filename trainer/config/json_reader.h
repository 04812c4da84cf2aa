// JSON text -> ConfigNode, strictly: one value, no duplicate keys, no deep nesting. The only file
// that knows nlohmann's parser, and only its stream of events.
#pragma once

#include "trainer/config/config_node.h"
#include "trainer/config/problems.h"

#include <string>
#include <string_view>

namespace moesaic::trainer {

/// Parses one JSON object. `name` is the file's name in messages. Throws ExitError(kConfiguration)
/// with name:line:column for malformed text, more than 32 levels or 10 000 values. Duplicate keys
/// go to `problems`; the first one stays.
ConfigNode parse_json(std::string_view text, const std::string& name, Problems& problems);

/// Parses a JSON value that this program wrote itself.
ConfigNode parse_json_value(std::string_view text);

}  // namespace moesaic::trainer
