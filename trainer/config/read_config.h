// Reads, checks, prints and compares whole configurations: the public face of this folder.
#pragma once

#include "trainer/config/config.h"
#include "trainer/config/document_options.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace moesaic::trainer {

/// Reads a configuration file, applies overrides (--section.key=value) and checks every rule; those
/// about the ranks only where `world_size` is given. Defaults that depend on other keys are filled
/// in (trainer.run_dir, moe.load_balance.coef, model.num_key_value_heads). Opens no data.
/// Throws ExitError: kNoInput if the file is not there; kConfiguration with all errors, one a line.
Config read_config(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                   std::optional<int64_t> world_size = std::nullopt);

/// All rules once more, now that the number of ranks is known. Throws ExitError(kConfiguration).
void check_config(const Config& config, int64_t world_size);

/// A configuration of defaults and overrides alone, for commands without a file. Nothing is
/// required, and no rule between keys is checked. `allowed` names the keys and sections that the
/// command takes; others are errors. Throws ExitError(kConfiguration).
Config read_overrides(const std::vector<std::string>& overrides,
                      const std::vector<std::string>& allowed);

/// Reads a file whose only section is `moe:`, with the overrides of that section (others are
/// left to read_overrides). moe.load_balance.coef stays empty where it is not given.
moe::MoeOptions read_moe_section(const std::filesystem::path& path,
                                 const std::vector<std::string>& overrides);

/// Every key with its value, as YAML that read_config reads back to the same configuration.
std::string resolved_yaml(const Config& config);

/// Every key with type, default, range and a sentence.
std::vector<OptionDocument> config_documents();

/// The text of `config --docs`.
std::string config_docs();

struct ResumeDifference {
  std::string key;
  std::string before;
  std::string now;
};

/// The keys that differ between the resolved YAML of a run and the configuration that would resume
/// it, and that must not. data.micro_batch_size may differ unless the mathematics depend on it
/// (scope or capacity per micro_batch).
std::vector<ResumeDifference> resume_differences(const std::string& resolved_yaml_before,
                                                 const Config& now);

}  // namespace moesaic::trainer
