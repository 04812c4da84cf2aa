#include "trainer/config/yaml_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/config/config_text.h"
#include "trainer/config/text_file.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

ConfigNode parse(const std::string& text) {
  Problems problems;
  auto root = parse_yaml(text, "f.yaml", problems);
  problems.throw_if_any();
  return root;
}

TEST(ParseYaml, KeepsTextQuotesAndPlaces) {
  auto root = parse("a: 010\nb:\n  c: 'x # y'\n  d: [1, \"2\"]\ne:\nf: ~\ng: \"~\"\n");
  EXPECT_EQ(root.find("a")->text, "010");
  EXPECT_EQ(root.find("a")->origin, "f.yaml:1:4");
  EXPECT_EQ(root.find("b")->find("c")->text, "x # y");
  EXPECT_TRUE(root.find("b")->find("c")->quoted);
  EXPECT_EQ(root.find("b")->find("d")->items[1].origin, "f.yaml:4:10");
  EXPECT_FALSE(root.find("b")->find("d")->items[0].quoted);
  EXPECT_TRUE(root.find("b")->find("d")->items[1].quoted);
  EXPECT_EQ(root.find("e")->kind, ConfigNode::Kind::kEmpty);
  EXPECT_EQ(root.find("e")->origin, "f.yaml:5:1");
  EXPECT_TRUE(root.find("f")->is_scalar());
  EXPECT_TRUE(root.find("f")->is_null());
  EXPECT_FALSE(root.find("g")->is_null());
}

TEST(ParseYaml, ReadsABlockListOfAnyLength) {
  std::string text = "a:\n";
  for (int i = 0; i < 5000; ++i) {
    text += "  - " + std::to_string(i) + "\n";
  }
  auto root = parse(text);
  ASSERT_EQ(root.find("a")->items.size(), 5000u);
  EXPECT_EQ(root.find("a")->items[4999].text, "4999");
}

std::string nested(size_t depth) {
  return "a: " + std::string(depth, '[') + std::string(depth, ']') + "\n";
}

std::string alias_bomb() {
  std::string text = "a: &a [x, x]\n";
  for (char name = 'b'; name < 'k'; ++name) {
    std::string previous(1, static_cast<char>(name - 1));
    text += std::string(1, name) + ": &" + name + " [*" + previous + ", *" + previous + "]\n";
  }
  return text;
}

TEST(ParseYaml, RefusesWhatAConfigurationNeverNeeds) {
  std::string many = "a: [";
  for (int i = 0; i < 10'001; ++i) {
    many += "1,";
  }
  const std::pair<std::string, std::string> kCases[] = {
      {"", "f.yaml: is empty"},
      {"# only a comment\n", "f.yaml: is empty"},
      {"- a\n- b\n", "f.yaml:1:1: the file must hold `key: value` pairs, but holds a list"},
      {"just text", "but holds 'just text'"},
      {"a: 1\n---\nb: 2\n", "a second document"},
      {"%YAML 9.9\n---\na: 1\n", "f.yaml:1:1"},
      {"a: [1, 2\n", "f.yaml:"},
      {"a: b: c\n", "f.yaml:1:"},
      {"a:\n\t- b\n", "f.yaml:2:"},
      {"a: \"open", "f.yaml:1:"},
      {"b: 1\na: \"open\n", "f.yaml:2:4: the quote that opens here is never closed"},
      {"a: 'open ''\n", "f.yaml:1:4: the quote that opens here is never closed"},
      {"a: \"open \\\"\n", "f.yaml:1:4: the quote that opens here is never closed"},
      {"a: &x 1\n", "f.yaml:1:4: anchors"},
      {"a: *x\n", "f.yaml:1:4"},
      {"a: &x {b: *x}\n", "anchors"},
      {alias_bomb(), "f.yaml:1:4: anchors"},
      {"a: {<<: {b: 1}}\n", "f.yaml:1:5: merge keys"},
      {"a: !!int 3\n", "f.yaml:1:4: tags"},
      {"a: !mine 3\n", "tags"},
      {"? [a, b]\n: 1\n", "a key must be a plain name"},
      {"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: duplicate key 'a', first given at f.yaml:1:1"},
      {"x: {a: 1, a: {b: 2}}\n", "f.yaml:1:11: duplicate key 'a'"},
      {nested(33), "nested more than 32 levels"},
      {nested(100'000), "nested more than 32 levels"},
      {"a: " + std::string(100'000, '['), "f.yaml:1:"},
      {many + "1]", "more than 10000 values"},
  };
  for (const auto& [text, message] : kCases) {
    auto failure = failure_of([&] { parse(text); });
    EXPECT_EQ(failure.code, ExitCode::kConfiguration) << text.substr(0, 60);
    EXPECT_THAT(failure.message, HasSubstr(message)) << text.substr(0, 60);
  }
}

TEST(ParseYaml, ReadsNestedListsAndQuotes) {
  auto root = parse("a: [[1, 2], [], [[3]]]\nb: 'it''s'\nc: \"a \\\" b\"\nd: |\n  \"text\n");
  EXPECT_EQ(to_json(*root.find("a")), "[[1,2],[],[[3]]]");
  EXPECT_EQ(root.find("b")->text, "it's");
  EXPECT_EQ(root.find("c")->text, "a \" b");
  EXPECT_EQ(root.find("d")->text, "\"text\n");
}

TEST(ParseYaml, AcceptsAByteOrderMark) {
  EXPECT_EQ(parse("\xef\xbb\xbf"
                  "a: 1\n")
                .find("a")
                ->text,
            "1");
}

TEST(TextError, NamesThePlaceOfBytesThatAreNoText) {
  EXPECT_EQ(text_error("a: \xc3\xa4\nb\n"), "");
  EXPECT_EQ(text_error("a\nb\xff"), "2:2: is not UTF-8 text");
  EXPECT_EQ(text_error(std::string("\xff\xfe"
                                   "a\0",
                                   4)),
            "1:1: is not UTF-8 text");
  EXPECT_EQ(text_error("\xc0\xaf"), "1:1: is not UTF-8 text");          // overlong '/'
  EXPECT_EQ(text_error("\xed\xa0\x80"), "1:1: is not UTF-8 text");      // surrogate
  EXPECT_EQ(text_error("\xf4\x90\x80\x80"), "1:1: is not UTF-8 text");  // above U+10FFFF
  EXPECT_EQ(text_error("ab\xe2\x82"), "1:3: is not UTF-8 text");        // cut short
  EXPECT_EQ(text_error(std::string("a\0b", 3)), "1:2: has a control character");
}

TEST(ReadTextFile, RefusesWhatIsNoSmallTextFile) {
  auto code_of = [](const std::filesystem::path& path) {
    return failure_of([&] { read_text_file(path); }).code;
  };
  EXPECT_EQ(code_of("/nonexistent/file.yaml"), ExitCode::kNoInput);
  EXPECT_EQ(code_of(std::filesystem::temp_directory_path()), ExitCode::kNoInput);
  EXPECT_EQ(code_of("/dev/full"), ExitCode::kNoInput);
  EXPECT_EQ(code_of(std::string(5000, 'x')), ExitCode::kNoInput);
  TemporaryFile large(std::string((1 << 20) + 1, 'a'));
  EXPECT_EQ(code_of(large.path()), ExitCode::kConfiguration);
  TemporaryFile binary("a: \xff\n");
  EXPECT_EQ(code_of(binary.path()), ExitCode::kConfiguration);
}

}  // namespace
}  // namespace moesaic::trainer
