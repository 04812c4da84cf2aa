#include "trainer/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::HasSubstr;
using trainer::ExitCode;
using trainer::ExitError;
using trainer::Manifest;

Manifest sample() {
  Manifest manifest;
  manifest.step = 100;
  manifest.tensors = {1, 2};
  manifest.files["config.json"] = {17, {3, 4}};
  manifest.files["model.safetensors"] = {int64_t{1} << 40, {0xfedcba9876543210u, 5}};
  return manifest;
}

std::string problem_of(const std::string& text) {
  try {
    trainer::parse_manifest(text, "manifest.json");
  } catch (const ExitError& error) {
    EXPECT_EQ(error.code(), ExitCode::kStorage);
    return error.what();
  }
  return {};
}

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = trainer::manifest_text(sample());
  const auto position = text.find(from);
  EXPECT_NE(position, std::string::npos) << from;
  return text.replace(position, from.size(), to);
}

TEST(Manifest, RoundTrip) {
  const auto manifest = trainer::parse_manifest(trainer::manifest_text(sample()), "manifest.json");
  EXPECT_EQ(manifest.step, 100);
  EXPECT_EQ(manifest.tensors, sample().tensors);
  EXPECT_EQ(manifest.num_bytes(), (int64_t{1} << 40) + 17);
  EXPECT_EQ(manifest.files.at("model.safetensors").hash,
            sample().files.at("model.safetensors").hash);
}

TEST(Manifest, ANewerVersionIsNamedAsSuch) {
  EXPECT_THAT(
      problem_of(replaced("\"format_version\": 1", "\"format_version\": 2")),
      HasSubstr("format_version is 2, this moesaic reads 1: it was written by a newer one"));
}

TEST(Manifest, EveryFlippedBitIsFound) {
  const std::string text = trainer::manifest_text(sample());
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(problem_of(flipped), "") << "bit " << bit;
  }
}

TEST(Manifest, EveryTruncationIsFound) {
  const std::string text = trainer::manifest_text(sample());
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(problem_of(text.substr(0, size)), "") << size << " bytes";
  }
}

TEST(Manifest, HostileText) {
  EXPECT_NE(problem_of("[]"), "");
  EXPECT_NE(problem_of("{}"), "");
  EXPECT_THAT(problem_of(std::string(100'000, '[')), HasSubstr("damaged"));
  EXPECT_THAT(problem_of(replaced("\"step\": 100", "\"step\": -1")), HasSubstr("step is not"));
  EXPECT_THAT(problem_of(replaced("\"step\": 100", "\"step\": 1e2")), HasSubstr("step is not"));
  EXPECT_THAT(problem_of(replaced("\"step\": 100", "\"step\": 9223372036854775808")),
              HasSubstr("too large"));
  EXPECT_THAT(problem_of(replaced("\"step\": 100", "\"step\": 101")), HasSubstr("not what"));
  EXPECT_THAT(problem_of(replaced("config.json", "../config.json")), HasSubstr("plain file name"));
  EXPECT_THAT(problem_of(replaced("config.json", "manifest.json")), HasSubstr("plain file name"));
  EXPECT_THAT(problem_of(replaced("\"bytes\": 17", "\"bytes\": \"17\"")), HasSubstr("bytes"));
}

TEST(Manifest, PlainFileNames) {
  EXPECT_TRUE(trainer::is_plain_file_name("model-00001-of-00004.safetensors"));
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "/a", "a b", "a\n"}) {
    EXPECT_FALSE(trainer::is_plain_file_name(name)) << name;
  }
}

using ManifestFiles = CheckpointFixture;

TEST_F(ManifestFiles, AnAbsentManifestIsAStorageError) {
  try {
    trainer::read_manifest(root());
    ADD_FAILURE();
  } catch (const ExitError& error) {
    EXPECT_EQ(error.code(), ExitCode::kStorage);
    EXPECT_THAT(error.what(), HasSubstr((root() / "manifest.json").string()));
  }
}

}  // namespace
}  // namespace moesaic::tests
