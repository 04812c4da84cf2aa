#include "trainer/checkpoint_documents.h"

#include <nlohmann/json.hpp>

#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/config/model_file.h"
#include "trainer/data/byte_tokenizer.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

using nlohmann::ordered_json;

constexpr const char* kTrainerJson = "trainer.json";
constexpr int64_t kTrainerJsonVersion = 1;
constexpr const char* kTokenizerJson = "tokenizer.json";
constexpr int64_t kMaxTokenizerBytes = int64_t{64} << 20;

std::string trainer_json(const RunState& run) {
  return ordered_json{{"format_version", kTrainerJsonVersion},
                      {"step", run.step},
                      {"tokens", run.num_tokens},
                      {"num_updates", run.num_updates},
                      {"skipped_in_a_row", run.skipped_in_a_row},
                      {"data_fingerprint", run.data_fingerprint},
                      {"configuration", run.configuration}}
             .dump(2) +
         "\n";
}

RunState parse_trainer_json(const std::string& text, const std::filesystem::path& folder) {
  const auto label = (folder / kTrainerJson).string();
  try {
    const auto json = ordered_json::parse(text);
    if (json.at("format_version").get<int64_t>() != kTrainerJsonVersion) {
      throw ExitError(ExitCode::kStorage, label + ": written by another version of moesaic");
    }
    const auto count = [&](const char* key) {
      if (!json.at(key).is_number_unsigned()) {
        throw ExitError(ExitCode::kStorage, label + ": " + key + " must be a whole number >= 0");
      }
      return json.at(key).get<int64_t>();
    };
    RunState run;
    run.step = count("step");
    run.num_tokens = count("tokens");
    run.num_updates = count("num_updates");
    run.skipped_in_a_row = count("skipped_in_a_row");
    run.data_fingerprint = json.at("data_fingerprint").get<std::string>();
    run.configuration = json.at("configuration").get<std::string>();
    return run;
  } catch (const ordered_json::exception& error) {
    throw ExitError(ExitCode::kStorage, label + ": " + error.what());
  }
}

std::string generation_config_json(const moe::ModelConfig& model) {
  ordered_json json = {{"_from_model_config", true}};
  if (model.eos_token_id.size() == 1) {
    json["eos_token_id"] = model.eos_token_id[0];
  } else if (!model.eos_token_id.empty()) {
    json["eos_token_id"] = model.eos_token_id;
  }
  if (model.pad_token_id) {
    json["pad_token_id"] = *model.pad_token_id;
  }
  return json.dump(2) + "\n";
}

// What a tokenizer of a Hugging Face folder may consist of.
std::vector<Document> tokenizer_of_folder(const std::filesystem::path& folder) {
  std::vector<Document> found;
  for (const char* name : {kTokenizerJson, "tokenizer_config.json", "special_tokens_map.json",
                           "vocab.json", "merges.txt", "added_tokens.json"}) {
    if (std::filesystem::exists(folder / name)) {
      found.push_back({name, read_text_file(folder / name, kMaxTokenizerBytes)});
    }
  }
  return found;
}

bool ends_documents_as_bytes(const moe::ModelConfig& model) {
  return model.vocab_size >= kByteVocabSize &&
         model.eos_token_id == std::vector<int64_t>{kByteEndToken};
}

std::vector<Document> tokenizer_documents(const Config& config) {
  if (config.model.from) {
    if (auto documents = tokenizer_of_folder(*config.model.from); !documents.empty()) {
      return documents;
    }
  }
  const auto& model = config.model.config;
  if (!ends_documents_as_bytes(model)) {
    return {};  // none is better than a wrong one
  }
  return {{kTokenizerJson, byte_tokenizer_json()},
          {"tokenizer_config.json", byte_tokenizer_config_json(model.max_position_embeddings)}};
}

}  // namespace

std::vector<Document> checkpoint_documents(const RunState& run, const Config& config) {
  std::vector<Document> documents = {
      {"config.json", model_config_json(config.model.config)},
      {"generation_config.json", generation_config_json(config.model.config)},
      {kTrainerJson, trainer_json(run)}};
  for (auto& document : tokenizer_documents(config)) {
    documents.push_back(std::move(document));
  }
  return documents;
}

RunState read_run_state(parallel::Communicator& world, const std::filesystem::path& folder) {
  return parse_trainer_json(read_document(world, folder, kTrainerJson), folder);
}

bool speaks_bytes(const moe::ModelConfig& model, const std::filesystem::path& folder) {
  const auto path = folder / kTokenizerJson;
  return std::filesystem::exists(path)
             ? read_text_file(path, kMaxTokenizerBytes) == byte_tokenizer_json()
             : ends_documents_as_bytes(model);
}

}  // namespace moesaic::trainer
