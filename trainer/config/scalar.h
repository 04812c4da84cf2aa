// Strict readings of one scalar's text, without the traps of YAML 1.1: 010 is no octal, yes is no
// boolean, null is no string, .nan is no number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moesaic::trainer {

/// Reads a whole number: 8, -1, 1_000_000, 1e9, 2.5e6. Returns an empty string, or why it is none.
std::string parse_integer(std::string_view text, int64_t& value);

/// Reads a finite number. Returns an empty string, or why it is none.
std::string parse_number(std::string_view text, double& value);

/// Reads true or false. Returns an empty string, or why it is neither.
std::string parse_boolean(std::string_view text, bool& value);

/// The plain texts of null: empty, ~, null, Null, NULL.
bool is_null_text(std::string_view text);

/// Whether a plain text means a string: not null, true, false or a number.
bool is_string_text(std::string_view text);

/// Shortest text that reads back to the same value and looks like a number with a fraction.
std::string number_text(double value);

/// At most 60 characters of a text, on one line: for messages.
std::string shorten(std::string_view text);

}  // namespace moesaic::trainer
