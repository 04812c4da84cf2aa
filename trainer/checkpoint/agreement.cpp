#include "trainer/checkpoint/agreement.h"

#include <cstring>

#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

std::vector<int64_t> gather_numbers(parallel::Communicator& communicator, int64_t number) {
  const auto mine = at::full({1}, number, at::kLong);
  const auto all = at::empty({communicator.size()}, at::kLong);
  communicator.all_gather(all, mine)->wait();
  return {all.const_data_ptr<int64_t>(), all.const_data_ptr<int64_t>() + communicator.size()};
}

// At most three ranks speak: with a full disk everybody has the same to say.
[[noreturn]] void throw_for_all(const std::vector<std::string>& problems) {
  ExitCode code = ExitCode::kInternal;
  std::string message;
  int num_failures = 0;
  for (size_t rank = 0; rank < problems.size(); ++rank) {
    if (problems[rank].empty())
      continue;
    if (++num_failures > 3)
      continue;
    if (num_failures == 1)
      code = static_cast<ExitCode>(problems[rank].front());
    message += (num_failures > 1 ? "; " : "");
    if (problems.size() > 1)
      message += "rank " + std::to_string(rank) + ": ";
    message += problems[rank].substr(1);
  }
  if (num_failures > 3)
    message += "; and " + std::to_string(num_failures - 3) + " more ranks";
  throw ExitError(code, message);
}

}  // namespace

std::vector<std::string> gather_texts(parallel::Communicator& communicator,
                                      const std::string& text) {
  const auto sizes = gather_numbers(communicator, static_cast<int64_t>(text.size()));
  const int64_t longest = *std::max_element(sizes.begin(), sizes.end());
  std::vector<std::string> texts(sizes.size());
  if (longest == 0)
    return texts;
  const auto mine = at::zeros({longest}, at::kByte);
  std::memcpy(mine.mutable_data_ptr<uint8_t>(), text.data(), text.size());
  const auto all = at::empty({communicator.size() * longest}, at::kByte);
  communicator.all_gather(all, mine)->wait();
  const auto* bytes = reinterpret_cast<const char*>(all.const_data_ptr<uint8_t>());
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    texts[rank].assign(bytes + static_cast<int64_t>(rank) * longest, sizes[rank]);
  }
  return texts;
}

std::string broadcast_text(parallel::Communicator& communicator, const std::string& text,
                           int root) {
  const auto size = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  communicator.broadcast(size, root)->wait();
  const int64_t num_bytes = size.item<int64_t>();
  if (num_bytes == 0)
    return {};
  const auto bytes = at::zeros({num_bytes}, at::kByte);
  if (communicator.rank() == root) {
    std::memcpy(bytes.mutable_data_ptr<uint8_t>(), text.data(), text.size());
  }
  communicator.broadcast(bytes, root)->wait();
  return {reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
          static_cast<size_t>(num_bytes)};
}

void attempt_together(parallel::Communicator& communicator, const std::function<void()>& body) {
  std::string problem;
  const auto record = [&](ExitCode code, const char* what) {
    problem = static_cast<char>(code) + std::string(what);
  };
  try {
    body();
  } catch (const parallel::CommunicationError&) {
    throw;
  } catch (const ExitError& error) {
    record(error.code(), error.what());
  } catch (const std::exception& error) {
    record(ExitCode::kInternal, error.what());
  }
  const auto problems = gather_texts(communicator, problem);
  for (const auto& text : problems) {
    if (!text.empty())
      throw_for_all(problems);
  }
}

}  // namespace moesaic::trainer
