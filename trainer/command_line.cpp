#include "trainer/command_line.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>

#include "trainer/bench/bench_commands.h"
#include "trainer/commands.h"
#include "trainer/config/problems.h"
#include "trainer/config/scalar.h"
#include "trainer/exit_code.h"
#include "trainer/launch.h"

namespace moesaic::trainer {
namespace {

using Texts = std::vector<std::string>;

/// A report that did not arrive is no success.
void flush_output() {
  std::cout << std::flush;
  if (!std::cout || std::fflush(stdout) != 0) {
    throw ExitError(ExitCode::kStorage, "cannot write to standard output");
  }
}

[[noreturn]] void usage_error(const std::string& message) {
  throw ExitError(ExitCode::kUsage, message);
}

std::string suggestion(const std::string& word, const Texts& known) {
  auto nearest = nearest_name(word, known);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'";
}

std::string see(const std::string& verb) {
  return "; see " + verb + " --help";
}

/// One verb: its part of the parser, and what to call when it was chosen.
struct Verb {
  CLI::App* app;
  std::function<int()> run;
  Texts* overrides = nullptr;  ///< where --section.key=value go; null where they are errors
};

/// Declares the verbs and holds what they are given.
class CommandLine {
 public:
  CommandLine();
  int run(const Texts& arguments);

 private:
  void add_training_verbs();
  void add_model_verbs();
  void add_data_verbs();
  void add_checkpoint_verbs();
  void add_config_verb();
  void add_bench_verbs();
  void add_bench_verb(CLI::App& bench, const std::string& name, const std::string& help,
                      int (*command)(const BenchArguments&));
  CLI::App* add_verb(CLI::App& parent, const std::string& name, const std::string& help,
                     std::function<int()> run, Texts* overrides = nullptr);
  std::string check_verb_names(const Texts& arguments) const;
  const Verb* chosen() const;
  static void take_extras(const Verb& verb);

  CLI::App app_{"Trains Mixture-of-Experts language models.", "moesaic"};
  std::deque<Verb> verbs_;
  TrainArguments train_;
  ParityArguments parity_;
  EvalArguments eval_;
  GenerateArguments generate_;
  ConfigArguments config_;
  DataPrepareArguments prepare_;
  DataInfoArguments info_;
  std::filesystem::path checkpoint_;
  BenchArguments bench_;
};

/// A path or text as it stands. (CLI11 would read a path through operator>>, which takes quotes.)
template <typename Text>
CLI::Option* add_text(CLI::App* app, const std::string& name, Text& target,
                      const std::string& help) {
  return app->add_option_function<std::string>(
      name, [&target](const std::string& text) { target = text; }, help);
}

/// A number, as strict as in a configuration. (CLI11 would read 010 as octal.)
template <typename Number>
CLI::Option* add_number(CLI::App* app, const std::string& name, Number& target, double minimum,
                        const std::string& help) {
  auto take = [&target, name, minimum](const std::string& text) {
    constexpr bool kWhole = !std::is_same_v<Number, double>;
    std::conditional_t<kWhole, int64_t, double> value{};
    std::string reason;
    if constexpr (kWhole) {
      reason = parse_integer(text, value);
    } else {
      reason = parse_number(text, value);
    }
    if (!reason.empty() || static_cast<double>(value) < minimum) {
      usage_error(name + " must be a " + (kWhole ? "whole " : "") + "number >= " +
                  std::to_string(static_cast<int64_t>(minimum)) + ", is '" + shorten(text) + "'");
    }
    target = value;
  };
  return app->add_option_function<std::string>(name, take, help)->type_name("NUMBER");
}

CLI::Option* add_kernel_log(CLI::App* app, bool& wanted) {
  return app->add_flag("--kernel-log", wanted,
                       "At the end print the launches of each CUDA kernel.");
}

constexpr const char* kOverrideHelp =
    "Any key can be set on the command line: --section.key=value (see moesaic config --docs).";

CommandLine::CommandLine() {
  app_.require_subcommand(1);
  app_.set_help_flag("-h,--help", "Print this help and exit.");
  app_.set_version_flag("--version", "", "Print the versions of moesaic, LibTorch and MPI.");
  app_.footer(
      "Run it under mpirun for several ranks:  mpirun -n 4 moesaic train configs/shakespeare.yaml\n"
      "Exit codes: 0 done, 64 usage, 65 bad data or file, 66 no input, 70 internal, non-finite or\n"
      "not equal, 71 communication, 74 I/O or checkpoint, 75 preempted (run again), 78 "
      "configuration.");
  app_.get_formatter()->column_width(34);
  add_training_verbs();
  add_model_verbs();
  add_data_verbs();
  add_checkpoint_verbs();
  add_config_verb();
  add_bench_verbs();
}

CLI::App* CommandLine::add_verb(CLI::App& parent, const std::string& name, const std::string& help,
                                std::function<int()> run, Texts* overrides) {
  auto* verb = parent.add_subcommand(name, help);
  verb->allow_extras();
  verbs_.push_back({verb, std::move(run), overrides});
  return verb;
}

void CommandLine::add_training_verbs() {
  auto* train = add_verb(
      app_, "train", "Train, or go on training, what a configuration describes.",
      [this] { return train_command(train_); }, &train_.overrides);
  add_text(train, "CONFIG", train_.config, "The configuration, a YAML file.")->required();
  train->add_flag("--dry-run", train_.dry_run,
                  "Check everything, print parameters, bytes per rank and steps; train nothing.");
  train->add_flag("--allow-config-change", train_.allow_config_change,
                  "Resume although keys have changed that alter what the run computes.");
  add_kernel_log(train, train_.kernel_log);
  train->footer(std::string("The same command again resumes from the newest valid checkpoint.\n") +
                kOverrideHelp +
                "\n\nExamples:\n"
                "  mpirun -n 2 moesaic train configs/shakespeare.yaml\n"
                "  mpirun -n 4 moesaic train configs/shakespeare.yaml --parallel.expert=2 "
                "--optimizer.lr=1e-3");

  auto* parity = add_verb(
      app_, "parity", "Compare with the numbers of a golden folder.",
      [this] { return parity_command(parity_); }, &parity_.overrides);
  add_text(parity, "DIR", parity_.folder, "The folder, see tests/golden/README.md.")->required();
  parity->add_flag("--json", parity_.json, "Print the report as JSON.");
  add_kernel_log(parity, parity_.kernel_log)->excludes("--json");
  parity->footer(
      "Takes overrides of parallel, trainer, kernels, debug and "
      "data.micro_batch_size.\n\nExample:\n"
      "  mpirun -n 4 moesaic parity tests/golden/olmoe --parallel.expert=2");
}

void CommandLine::add_model_verbs() {
  auto* eval = add_verb(
      app_, "eval", "Print a checkpoint's cross-entropy on token files.",
      [this] { return eval_command(eval_); }, &eval_.overrides);
  add_text(eval, "DIR", eval_.folder, "A checkpoint, or any Hugging Face OLMoE folder.")
      ->required();
  add_text(eval, "--data", eval_.data, "Prefix of the token files.")
      ->required()
      ->type_name("PREFIX");
  add_kernel_log(eval, eval_.kernel_log);
  eval->footer(
      "Takes overrides of parallel, trainer.device, trainer.threads, trainer.precision,\n"
      "kernels, debug.force_balance, data.micro_batch_size and data.sequence_length.\n\nExample:\n"
      "  moesaic eval runs/shakespeare/checkpoints/step-000240 --data data/shakespeare/validation");

  auto* generate = add_verb(
      app_, "generate", "Continue a text.", [this] { return generate_command(generate_); },
      &generate_.overrides);
  add_text(generate, "DIR", generate_.folder, "A checkpoint.")->required();
  add_text(generate, "--prompt", generate_.prompt, "The text to continue.")->type_name("TEXT");
  add_number(generate, "--max-new-tokens", generate_.max_new_tokens, 1, "Tokens to add (200).");
  add_number(generate, "--temperature", generate_.temperature, 0,
             "Spread of the draws; 0 (the default) always takes the most likely token.");
  add_number(generate, "--top-k", generate_.top_k, 1, "Draw among the most likely tokens only.");
  add_number(generate, "--seed", generate_.seed, 0, "Seed of the draws (0).");
  add_kernel_log(generate, generate_.kernel_log);
  generate->footer(
      "Takes overrides of parallel, trainer.device, trainer.threads, trainer.precision, kernels\n"
      "and debug.force_balance.\n\nExample:\n"
      "  moesaic generate runs/shakespeare/checkpoints/step-000240 --prompt 'ROMEO:' "
      "--temperature 0.8");
}

void CommandLine::add_data_verbs() {
  auto* data = app_.add_subcommand("data", "Prepare and inspect token files.");
  data->require_subcommand(1);
  auto* prepare = add_verb(*data, "prepare", "Turn text into byte tokens: PREFIX.bin, PREFIX.idx.",
                           [this] { return data_prepare_command(prepare_); });
  prepare->add_option("INPUT", prepare_.inputs, "Files and folders of .txt and .jsonl.")
      ->required();
  add_text(prepare, "--output", prepare_.output, "Where to write.")
      ->required()
      ->type_name("PREFIX");
  prepare->add_flag("!--no-end-token", prepare_.append_end_token,
                    "Do not end documents with token 256.");
  prepare->footer("Example:\n  moesaic data prepare texts/train --output data/mine/train");

  auto* info = add_verb(*data, "info", "Validate token files and say what they hold.",
                        [this] { return data_info_command(info_); });
  add_text(info, "PREFIX", info_.prefix, "Of PREFIX.bin and PREFIX.idx.")->required();
  add_number(info, "--vocab-size", info_.vocab_size, 1, "Every token must be smaller.");
  info->footer("Example:\n  moesaic data info data/mine/train --vocab-size 320");
}

void CommandLine::add_checkpoint_verbs() {
  auto* checkpoint = app_.add_subcommand("checkpoint", "List, describe and verify checkpoints.");
  checkpoint->require_subcommand(1);
  using Command = int (*)(const std::filesystem::path&);
  auto add = [&](const std::string& name, const std::string& help, const std::string& path_help,
                 Command command) {
    auto* verb =
        add_verb(*checkpoint, name, help, [this, command] { return command(checkpoint_); });
    add_text(verb, "PATH", checkpoint_, path_help)->required();
  };
  add("list", "One line a checkpoint, with its validity.", "A run's folder.",
      &checkpoint_list_command);
  add("info", "Tensors, bytes and the hash over weights and moments.",
      "A checkpoint, or one .safetensors file.", &checkpoint_info_command);
  add("check", "Verify every file against its manifest.", "A checkpoint, file or run folder.",
      &checkpoint_check_command);
}

void CommandLine::add_config_verb() {
  auto* config = add_verb(
      app_, "config", "Check a configuration and print it with every default.",
      [this] { return config_command(config_); }, &config_.overrides);
  add_text(config, "CONFIG", config_.config, "The configuration, a YAML file.");
  config->add_flag("--docs", config_.docs, "Print every key: type, default, range and meaning.");
  config->footer(std::string(kOverrideHelp) +
                 "\n\nExample:\n  moesaic config configs/tiny.yaml --moe.capacity.factor=1.25");
}

void CommandLine::add_bench_verbs() {
  auto* bench = app_.add_subcommand("bench", "Measure speed against yardsticks of the same run.");
  bench->require_subcommand(1);
  add_bench_verb(*bench, "operators", "Every operator, forward and backward.",
                 &bench_operators_command);
  add_bench_verb(*bench, "layer", "One MoE layer, forward and backward.", &bench_layer_command);

  auto* step = add_verb(
      *bench, "step", "One training step of a configuration, without data.",
      [this] { return bench_step_command(bench_); }, &bench_.overrides);
  add_text(step, "CONFIG", bench_.config, "The configuration, a YAML file.")->required();
  add_number(step, "--rounds", bench_.rounds, 1, "Times that everything is measured (12).");
  step->add_flag("--json", bench_.json, "Print the report as JSON.");
  step->footer(std::string(kOverrideHelp) +
               "\n\nExample:\n  moesaic bench step configs/bench.yaml --trainer.threads=2");
}

/// A verb that takes the sizes of a layer.
void CommandLine::add_bench_verb(CLI::App& bench, const std::string& name, const std::string& help,
                                 int (*command)(const BenchArguments&)) {
  auto* verb = add_verb(
      bench, name, help, [this, command] { return command(bench_); }, &bench_.overrides);
  auto& shape = bench_.shape;
  add_number(verb, "--tokens", shape.tokens, 1, "Tokens (4096).");
  add_number(verb, "--hidden-size", shape.hidden_size, 1, "Width of a token (512).");
  add_number(verb, "--experts", shape.num_experts, 1, "Experts (64).");
  add_number(verb, "--top-k", shape.top_k, 1, "Experts of a token (8).");
  add_number(verb, "--intermediate-size", shape.intermediate_size, 1, "Width of an expert (256).");
  if (name == "operators") {
    add_number(verb, "--vocab-size", shape.vocab_size, 1, "Rows of the head (4096).");
  }
  add_text(verb, "--dtype", bench_.dtype, "float32 (the default), float64 or bfloat16.");
  add_number(verb, "--rounds", bench_.rounds, 1, "Times that everything is measured (12).");
  verb->add_flag("--json", bench_.json, "Print the report as JSON.");
  verb->footer(
      "Fails with code 70, before it measures, where a result is not that of the reference.\n"
      "Takes overrides of trainer.device, trainer.threads and kernels.\n\nExample:\n"
      "  moesaic bench " +
      name + " --tokens 8192 --trainer.threads=1");
}

// --- parsing -------------------------------------------------------------------

/// CLI11 says no more than "A subcommand is required": name the word, and the verb that is near.
/// Returns the verb with its parents, "moesaic data info".
std::string CommandLine::check_verb_names(const Texts& arguments) const {
  const CLI::App* parent = &app_;
  std::string path = "moesaic";
  Texts names;
  for (const auto& word : arguments) {
    names.clear();
    const CLI::App* found = nullptr;
    for (const auto* verb : parent->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(verb->get_name());
      found = verb->get_name() == word ? verb : found;
    }
    if (names.empty() || word.rfind("-", 0) == 0) {
      return path;
    }
    if (found == nullptr) {
      usage_error("unknown command '" + shorten(word) + "'" + suggestion(word, names) + see(path));
    }
    path += " " + word;
    parent = found;
  }
  if (!parent->get_subcommands([](const CLI::App*) { return true; }).empty()) {
    usage_error("'" + path + "' needs a command" + see(path));
  }
  return path;
}

const Verb* CommandLine::chosen() const {
  for (const auto& verb : verbs_) {
    if (verb.app->parsed()) {
      return &verb;
    }
  }
  return nullptr;
}

/// What the parser did not know: overrides where the verb takes them, else mistakes.
void CommandLine::take_extras(const Verb& verb) {
  Texts flags;
  for (const auto* option : verb.app->get_options()) {
    for (const auto& name : option->get_lnames()) {
      flags.push_back("--" + name);
    }
  }
  for (const auto& word : verb.app->remaining()) {
    auto name = word.substr(0, word.find('='));
    auto nearest = nearest_name(name, flags);
    bool dotted = name.find('.') != std::string::npos;
    bool is_override = verb.overrides != nullptr && word.rfind("--", 0) == 0 && name.size() > 2 &&
                       name.size() < word.size() && (dotted || nearest.empty());
    if (is_override) {
      verb.overrides->push_back(word);
      continue;
    }
    auto kind = word.rfind("-", 0) == 0 ? "unknown option '" : "unexpected argument '";
    auto hint =
        nearest.empty() || word.rfind("--", 0) != 0 ? "" : "; did you mean '" + nearest + "'?";
    if (hint.empty() && dotted && verb.overrides != nullptr && word.rfind("--", 0) == 0) {
      hint = "; overrides are written " + name + "=value";
    }
    usage_error(kind + shorten(word) + "'" + hint);
  }
}

int CommandLine::run(const Texts& arguments) {
  if (arguments.empty()) {
    usage_error("a command is missing\n\n" + app_.help());
  }
  auto path = check_verb_names(arguments);
  try {
    app_.parse(Texts(arguments.rbegin(), arguments.rend()));  // CLI11 takes them from the back
  } catch (const CLI::CallForHelp&) {
    print_once(app_.help());
    return static_cast<int>(ExitCode::kDone);
  } catch (const CLI::CallForVersion&) {
    return version_command();
  } catch (const CLI::ParseError& error) {
    usage_error(error.what() + see(path));
  }
  const auto* verb = chosen();
  take_extras(*verb);
  const int code = verb->run();
  if (verb->app->get_name() != "train") {  // whose log file holds what its console may lose
    flush_output();
  }
  return code;
}

}  // namespace

int run_command_line(const std::vector<std::string>& arguments) {
  CommandLine command_line;
  return command_line.run(arguments);
}

}  // namespace moesaic::trainer
