// Hugging Face's config.json: read into ModelConfig, and written back.
#pragma once

#include "moe/model/model_config.h"
#include "trainer/config/config_node.h"
#include "trainer/config/problems.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace moesaic::trainer {

/// Keys of a config.json that do nothing in training; kept in ModelConfig::carried as they are.
const std::vector<std::string>& carried_model_keys();

/// Takes the keys out of `section` that are no plain options: carried keys, model_type,
/// rope_scaling and rope_parameters (whose rope_theta becomes the plain key).
void take_special_model_keys(ConfigNode& section, const std::string& prefix,
                             moe::ModelConfig& config, Problems& problems);

/// Reads a config.json without checking the rules between its keys. `origins`: key -> place.
moe::ModelConfig read_model_file(const std::filesystem::path& config_json,
                                 std::map<std::string, std::string>& origins, Problems& problems);

/// Reads and checks a config.json of model_type olmoe. Throws ExitError: kNoInput if the file is
/// not there, kConfiguration with every error for what this program cannot run.
moe::ModelConfig read_model_config(const std::filesystem::path& config_json);

/// The config.json that transformers (4.45 or newer, and 5) loads: Hugging Face's keys, the carried
/// ones included; ends with a newline.
std::string model_config_json(const moe::ModelConfig& config);

}  // namespace moesaic::trainer
