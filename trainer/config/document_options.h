// The visitor that lists the keys of an options struct: name, type, range, default, sentence.
#pragma once

#include "trainer/config/option_text.h"
#include "trainer/config/option_traits.h"
#include "trainer/config/write_options.h"

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace moesaic::trainer {

struct OptionDocument {
  std::string key;           ///< dotted
  std::string type;          ///< "a whole number >= 1, or null"; empty for a section
  std::string default_text;  ///< as YAML; empty for a section and where `required`
  std::string help;
  bool required = false;
  bool may_change_on_resume = false;

  bool is_section() const { return type.empty(); }
};

class OptionDocumenter {
 public:
  OptionDocumenter(std::string prefix, std::vector<OptionDocument>& documents)
      : prefix_(std::move(prefix)), documents_(documents) {}

  template <typename T>
  void option(std::string_view name, const T& value, const OptionTraits& traits = {}) {
    add(name, type_text<T>(traits), value_node(value, traits), traits);
  }

  template <typename Enum>
  void choice(std::string_view name, const Enum& value,
              std::type_identity_t<ChoiceNames<Enum>> names, const OptionTraits& traits = {}) {
    std::vector<std::string> texts;
    std::string default_text;
    for (const auto& [text, meaning] : names) {
      texts.emplace_back(text);
      default_text = meaning == value ? std::string(text) : default_text;
    }
    add(name, choice_text(texts), ConfigNode::scalar(default_text, /*quoted=*/true), traits);
  }

  template <typename Section>
  void section(std::string_view name, Section& section, std::string_view help) {
    documents_.push_back({key(name), "", "", std::string(help)});
    OptionDocumenter documenter(key(name), documents_);
    section.describe(documenter);
  }

 private:
  std::string key(std::string_view name) const {
    return prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
  }
  void add(std::string_view name, const std::string& type, const ConfigNode& value,
           const OptionTraits& traits) {
    documents_.push_back({key(name), type, traits.required ? "" : value_text(value),
                          std::string(traits.help), traits.required, traits.may_change_on_resume});
  }

  std::string prefix_;
  std::vector<OptionDocument>& documents_;
};

/// All keys of an options struct, in the order of its description.
template <typename Options>
std::vector<OptionDocument> document(Options options) {
  std::vector<OptionDocument> documents;
  OptionDocumenter documenter("", documents);
  options.describe(documenter);
  return documents;
}

}  // namespace moesaic::trainer
