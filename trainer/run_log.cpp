#include "trainer/run_log.h"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <cstdio>

#include "trainer/exit_code.h"

namespace moesaic::trainer {

RunLog::RunLog(const std::filesystem::path& run_dir, int rank) : rank_(rank) {
  const auto path = run_dir / fmt::format("rank-{}.log", rank);
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    file_ = std::make_shared<spdlog::logger>("run", std::move(sink));
  } catch (const spdlog::spdlog_ex& error) {
    throw ExitError(ExitCode::kStorage,
                    fmt::format("cannot open {}: {}", path.string(), error.what()));
  }
  file_->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  file_->flush_on(spdlog::level::info);
}

RunLog::~RunLog() = default;

void RunLog::info(const std::string& message) {
  file_->info("{}", message);
  if (rank_ == 0) {
    std::fputs((message + "\n").c_str(), stdout);
    std::fflush(stdout);
  }
}

void RunLog::warn(const std::string& message) {
  file_->warn("{}", message);
  std::fputs(fmt::format("rank {}: warning: {}\n", rank_, message).c_str(), stderr);
}

}  // namespace moesaic::trainer
