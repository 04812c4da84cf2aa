// What an option says about itself when an options struct is described.
//
// An options struct is plain data with
//
//   template <typename Visitor> void describe(Visitor& visitor) {
//     visitor.option("coef", coef, {.help = "Weight of ...", .minimum = 0.0});
//     visitor.choice("policy", policy, {{"position", DropPolicy::kPosition}}, {.help = "..."});
//     visitor.section("capacity", capacity, "Upper bound of ...");
//   }
//
// and needs no include for it. The visitors: read_options.h reads it from a tree, write_options.h
// writes it to one, document_options.h lists its keys.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

namespace moesaic::trainer {

/// Limits of a list hold for each of its elements.
struct OptionTraits {
  std::string_view help = {};          ///< one sentence; every option has it
  std::optional<double> minimum = {};  ///< smallest value that is allowed
  std::optional<double> maximum = {};  ///< largest value that is allowed
  std::optional<double> above = {};    ///< values must be larger than this
  std::optional<double> below = {};    ///< values must be smaller than this
  std::optional<int> length = {};      ///< number of elements of a list
  bool one_or_many = false;            ///< a list that may be one value, or null for none
  bool required = false;               ///< has no default
  bool may_change_on_resume = false;   ///< does not alter what a resumed run computes
};

/// The names of an enumeration's values.
template <typename Enum>
using ChoiceNames = std::initializer_list<std::pair<std::string_view, Enum>>;

}  // namespace moesaic::trainer
