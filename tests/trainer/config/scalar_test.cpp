#include "trainer/config/scalar.h"

#include <gtest/gtest.h>

namespace moesaic::trainer {
namespace {

TEST(ParseInteger, AcceptsWholeNumbers) {
  const std::pair<const char*, int64_t> kCases[] = {
      {"0", 0},
      {"-1", -1},
      {"8", 8},
      {"1e9", 1'000'000'000},
      {"2.5e3", 2500},
      {"1_000_000", 1'000'000},
      {"10e-1", 1},
      {"9223372036854775807", INT64_MAX},
      {"-9223372036854775808", INT64_MIN},
  };
  for (const auto& [text, expected] : kCases) {
    int64_t value = 77;
    EXPECT_EQ(parse_integer(text, value), "") << text;
    EXPECT_EQ(value, expected) << text;
  }
}

TEST(ParseInteger, RefusesEverythingElse) {
  const std::pair<const char*, const char*> kCases[] = {
      {"010", "leading zero"},  {"00", "leading zero"},
      {"8.0", "whole number"},  {"1.5e0", "whole number"},
      {"1e-1", "whole number"}, {"9223372036854775808", "64 bits"},
      {"1e19", "64 bits"},      {"1e400000000000", "whole number"},
      {"0x10", "whole number"}, {"1__0", "whole number"},
      {"_1", "whole number"},   {"1_", "whole number"},
      {"", "whole number"},     {"-", "whole number"},
      {"1 ", "whole number"},   {"yes", "whole number"},
      {".inf", "whole number"},
  };
  for (const auto& [text, reason] : kCases) {
    int64_t value = 0;
    EXPECT_NE(parse_integer(text, value).find(reason), std::string::npos)
        << text << ": " << parse_integer(text, value);
  }
}

TEST(ParseNumber, IsStrictAndExact) {
  double value = 0;
  EXPECT_EQ(parse_number("4e-4", value), "");
  EXPECT_EQ(value, 4e-4);
  EXPECT_EQ(parse_number("-.5", value), "");
  EXPECT_EQ(value, -0.5);
  EXPECT_EQ(parse_number("1_000.25", value), "");
  EXPECT_EQ(value, 1000.25);
  EXPECT_EQ(parse_number("1E+3", value), "");
  EXPECT_EQ(value, 1000.0);
  for (const char* text : {".nan", ".inf", "-.inf", "nan", "inf"}) {
    EXPECT_EQ(parse_number(text, value), "is not finite") << text;
  }
  for (const char* text : {"1e400", "1e-400", "-1e999"}) {
    EXPECT_NE(parse_number(text, value).find("too large or too small"), std::string::npos) << text;
  }
  EXPECT_NE(parse_number("010", value).find("leading zero"), std::string::npos);
  for (const char* text : {"0x1p3", "1e", "e3", ".", "1,5", "1e+-3", "12:30"}) {
    EXPECT_EQ(parse_number(text, value), "is not a number") << text;
  }
}

TEST(IsStringText, KnowsWhatYamlWouldTakeForSomethingElse) {
  for (const char* text : {"abc", "yes", "runs/a", "1x", "0x10", "2024-01-01"}) {
    EXPECT_TRUE(is_string_text(text)) << text;
  }
  for (const char* text : {"", "~", "null", "true", "false", "8", "1e9", ".nan", "010"}) {
    EXPECT_FALSE(is_string_text(text)) << text;
  }
}

TEST(NumberText, ReadsBackToTheSameBits) {
  for (double number : {0.0, 1.0, 0.1, 1e-8, 1e300, 5e-324, 123456789.0, -2.5}) {
    double value = 1;
    ASSERT_EQ(parse_number(number_text(number), value), "") << number_text(number);
    EXPECT_EQ(value, number);
  }
  EXPECT_EQ(number_text(600), "600.0");
}

}  // namespace
}  // namespace moesaic::trainer
