#include "trainer/config/scalar.h"

#include <charconv>

namespace moesaic::trainer {
namespace {

bool is_digit(char letter) {
  return letter >= '0' && letter <= '9';
}

/// A decimal number, taken apart: [sign] digits [. digits] [e [sign] digits].
struct Decimal {
  std::string digits;    ///< all digits of the mantissa, no sign, no point, no underscore
  std::string plain;     ///< the whole number without underscores, as std::from_chars takes it
  int64_t exponent = 0;  ///< of ten, for `digits` read as a whole number
  bool negative = false;
  bool has_point = false;
  bool has_exponent = false;
};

/// Returns an empty string, or why the text is no decimal number.
std::string parse_decimal(std::string_view text, Decimal& decimal) {
  constexpr size_t kMaxDigits = 64;
  size_t at = 0;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) {
    decimal.negative = text[at++] == '-';
  }
  std::string mantissa;
  bool last_was_digit = false;
  for (; at < text.size(); ++at) {
    if (is_digit(text[at])) {
      decimal.digits += text[at];
      mantissa += text[at];
      decimal.exponent -= decimal.has_point ? 1 : 0;
    } else if (text[at] == '_' && last_was_digit && at + 1 < text.size() &&
               is_digit(text[at + 1])) {
      continue;
    } else if (text[at] == '.' && !decimal.has_point) {
      decimal.has_point = true;
      mantissa += '.';
    } else {
      break;
    }
    last_was_digit = is_digit(text[at]);
  }
  if (decimal.digits.empty() || decimal.digits.size() > kMaxDigits) {
    return "is not a number";
  }
  if (mantissa.size() > 1 && mantissa[0] == '0' && mantissa[1] != '.') {
    return "has a leading zero (octal in some readers); write it without";
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    decimal.has_exponent = true;
    std::string_view tail = text.substr(at + 1);
    if (!tail.empty() && tail.front() == '+') {
      tail.remove_prefix(1);
    }
    int exponent = 0;
    auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), exponent);
    if (error != std::errc() || end != tail.data() + tail.size()) {
      return "is not a number";
    }
    decimal.exponent += exponent;
    mantissa += "e" + std::to_string(exponent);
    at = text.size();
  }
  if (at != text.size()) {
    return "is not a number";
  }
  decimal.plain = (decimal.negative ? "-" : "") + mantissa;
  return "";
}

}  // namespace

std::string parse_integer(std::string_view text, int64_t& value) {
  Decimal decimal;
  if (auto reason = parse_decimal(text, decimal); !reason.empty()) {
    return reason == "is not a number" ? "is not a whole number" : reason;
  }
  if (decimal.has_point && !decimal.has_exponent) {
    return "is not a whole number";
  }
  std::string digits = decimal.digits;
  for (; decimal.exponent < 0 && digits.size() > 1 && digits.back() == '0'; ++decimal.exponent) {
    digits.pop_back();
  }
  bool zero = digits.find_first_not_of('0') == std::string::npos;
  if (decimal.exponent < 0 && !zero) {
    return "is not a whole number";
  }
  if (decimal.exponent > 18 && !zero) {
    return "does not fit in 64 bits";
  }
  digits.append(zero ? 0 : static_cast<size_t>(std::max<int64_t>(decimal.exponent, 0)), '0');
  digits.insert(0, decimal.negative ? "-" : "");
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc() ? "" : "does not fit in 64 bits";
}

std::string parse_number(std::string_view text, double& value) {
  if (text == ".nan" || text == ".NaN" || text == ".NAN" || text == "nan" || text == "NaN") {
    return "is not finite";
  }
  auto unsigned_text = text.substr(!text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0);
  if (unsigned_text == ".inf" || unsigned_text == ".Inf" || unsigned_text == ".INF" ||
      unsigned_text == "inf") {
    return "is not finite";
  }
  Decimal decimal;
  if (auto reason = parse_decimal(text, decimal); !reason.empty()) {
    return reason;
  }
  const auto& plain = decimal.plain;
  auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (error == std::errc::result_out_of_range) {
    return "is too large or too small for a 64-bit number";
  }
  return error == std::errc() && end == plain.data() + plain.size() ? "" : "is not a number";
}

std::string parse_boolean(std::string_view text, bool& value) {
  if (text != "true" && text != "false") {
    return "is neither true nor false";
  }
  value = text == "true";
  return "";
}

bool is_null_text(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

bool is_string_text(std::string_view text) {
  bool boolean = false;
  double number = 0;
  auto number_error = parse_number(text, number);
  return !is_null_text(text) && !parse_boolean(text, boolean).empty() &&
         number_error == "is not a number";
}

std::string number_text(double value) {
  char buffer[40];
  auto result = std::to_chars(std::begin(buffer), std::end(buffer), value);
  std::string text(std::begin(buffer), result.ptr);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string shorten(std::string_view text) {
  constexpr size_t kMaxShown = 60;
  std::string shown;
  for (char letter : text.substr(0, kMaxShown)) {
    shown += static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f ? '?' : letter;
  }
  return text.size() > kMaxShown ? shown + "..." : shown;
}

}  // namespace moesaic::trainer
