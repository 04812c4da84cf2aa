// Where a run speaks: the console (rank 0's stdout), rank-N.log of every rank, warnings on stderr.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace moesaic::trainer {

class RunLog {
 public:
  /// Opens run_dir/rank-<rank>.log for appending. Only rank 0 writes to stdout.
  /// Throws ExitError(kStorage) when the file cannot be opened.
  RunLog(const std::filesystem::path& run_dir, int rank);
  ~RunLog();

  /// Rank 0: console and file. Other ranks: file.
  void info(const std::string& message);
  /// Every rank: file, and stderr with the rank.
  void warn(const std::string& message);

 private:
  int rank_;
  std::shared_ptr<spdlog::logger> file_;
};

}  // namespace moesaic::trainer
