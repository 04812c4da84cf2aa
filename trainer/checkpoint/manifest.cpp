#include "trainer/checkpoint/manifest.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/file_operations.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxManifestBytes = int64_t{64} << 20;
constexpr int kMaxDepth = 4;

// The manifest without its checksum.
Json manifest_body(const Manifest& manifest) {
  Json files = Json::object();
  for (const auto& [name, file] : manifest.files) {
    files[name] = {{"bytes", file.num_bytes}, {"xxh3_128", file.hash.hex()}};
  }
  return {{"format_version", kCheckpointFormatVersion},
          {"step", manifest.step},
          {"tensors_xxh3_128", manifest.tensors.hex()},
          {"files", std::move(files)}};
}

class ManifestParser {
 public:
  explicit ManifestParser(std::string label) : label_(std::move(label)) {}

  Manifest parse(const std::string& text) const {
    const Json json = Json::parse(
        text,
        [this](int depth, Json::parse_event_t, Json&) {
          if (depth > kMaxDepth)
            refuse("it is nested too deeply");
          return true;
        },
        /*allow_exceptions=*/false);
    if (!json.is_object())
      refuse("it is not a JSON object");
    const int64_t version = number(json, "format_version");
    if (version != kCheckpointFormatVersion) {
      refuse("its format_version is " + std::to_string(version) + ", this moesaic reads " +
             std::to_string(kCheckpointFormatVersion) +
             (version > kCheckpointFormatVersion ? ": it was written by a newer one" : ""));
    }
    Manifest manifest;
    manifest.step = number(json, "step");
    manifest.tensors = hash(json, "tensors_xxh3_128");
    if (!json.contains("files") || !json["files"].is_object())
      refuse("it has no files");
    for (const auto& [name, file] : json["files"].items()) {
      if (!is_plain_file_name(name) || name == kManifestName) {
        refuse(printable(name) + " is not a plain file name");
      }
      manifest.files[name] = {number(file, "bytes"), hash(file, "xxh3_128")};
    }
    if (manifest_text(manifest) != text)
      refuse("its text is not what moesaic wrote");
    return manifest;
  }

 private:
  [[noreturn]] void refuse(const std::string& problem) const {
    throw ExitError(ExitCode::kStorage, label_ + " is damaged or foreign: " + problem);
  }

  int64_t number(const Json& json, const char* key) const {
    // nlohmann-json converts any number to any type without a word: ask for the type first.
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_unsigned()) {
      refuse(std::string(key) + " is not an unsigned integer");
    }
    const uint64_t value = json[key].get<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      refuse(std::string(key) + " is too large");
    }
    return static_cast<int64_t>(value);
  }

  Hash128 hash(const Json& json, const char* key) const {
    if (!json.contains(key) || !json[key].is_string())
      refuse(std::string(key) + " is missing");
    const auto text = json[key].get<std::string>();
    if (text.size() != 32 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
      refuse(std::string(key) + " is not 32 hexadecimal digits");
    }
    return {std::stoull(text.substr(0, 16), nullptr, 16),
            std::stoull(text.substr(16), nullptr, 16)};
  }

  std::string label_;
};

}  // namespace

int64_t Manifest::num_bytes() const {
  int64_t total = 0;
  for (const auto& [name, file] : files)
    total += file.num_bytes;
  return total;
}

bool is_plain_file_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '.')
    return false;
  return name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
         std::string_view::npos;
}

std::string manifest_text(const Manifest& manifest) {
  Json json = manifest_body(manifest);
  const std::string body = json.dump(2);
  json["checksum_xxh3_128"] = hash_bytes(body.data(), static_cast<int64_t>(body.size())).hex();
  return json.dump(2) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::string& label) {
  return ManifestParser(label).parse(text);
}

Manifest read_manifest(const std::filesystem::path& folder) {
  const auto path = folder / kManifestName;
  std::string text;
  try {
    text = read_text_file(path, kMaxManifestBytes);
  } catch (const ExitError& error) {
    throw ExitError(ExitCode::kStorage, error.what());
  }
  return parse_manifest(text, path.string());
}

}  // namespace moesaic::trainer
