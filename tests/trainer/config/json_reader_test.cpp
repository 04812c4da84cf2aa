#include "trainer/config/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/config/config_text.h"

namespace moesaic::trainer {
namespace {

using testing::HasSubstr;

ConfigNode parse(const std::string& text) {
  Problems problems;
  auto root = parse_json(text, "f.json", problems);
  problems.throw_if_any();
  return root;
}

TEST(ParseJson, KeepsTextTypesAndPlaces) {
  auto root =
      parse("{\n  \"a\": 1e-05,\n  \"b\": {\"c\": \"8\", \"d\": [true, null]},\n  \"e\": -16\n}");
  EXPECT_EQ(root.find("a")->text, "1e-05");
  EXPECT_EQ(root.find("a")->origin, "f.json:2:3");
  EXPECT_TRUE(root.find("b")->find("c")->quoted);
  EXPECT_EQ(root.find("b")->find("c")->origin, "f.json:3:9");
  EXPECT_EQ(root.find("b")->find("d")->items[0].text, "true");
  EXPECT_TRUE(root.find("b")->find("d")->items[1].is_null());
  EXPECT_EQ(root.find("e")->text, "-16");
}

TEST(ParseJson, WritesBackWhatItRead) {
  const char* text = R"({"a":[1,2.50,"x\"y",null,true,{}],"b":{"c":[]},"d":1e-05})";
  EXPECT_EQ(to_json(parse(text)), text);
}

TEST(ParseJson, RefusesWhatIsNotOneStrictObject) {
  const std::pair<std::string, std::string> kCases[] = {
      {"", "f.json:1:1: is not JSON"},
      {"[1]", "one JSON object"},
      {"{\"a\": 1,}", "f.json:1:9: is not JSON"},
      {"{\"a\": 1} x", "is not JSON"},
      {"{\"a\": NaN}", "is not JSON"},
      {"{\"a\": 010}", "is not JSON"},
      {"{a: 1}", "is not JSON"},
      {"{\"a\": 1, // note\n\"b\": 2}", "is not JSON"},
      {"{\n \"a\": 1,\n \"a\": 2}", "f.json:3:2: duplicate key 'a', first given at f.json:2:2"},
      {"{\"a\": " + std::string(100'000, '['), "nested more than 32 levels"},
  };
  for (const auto& [text, message] : kCases) {
    auto failure = failure_of([&] { parse(text); });
    EXPECT_EQ(failure.code, ExitCode::kConfiguration) << text.substr(0, 60);
    EXPECT_THAT(failure.message, HasSubstr(message)) << text.substr(0, 60);
  }
}

}  // namespace
}  // namespace moesaic::trainer
