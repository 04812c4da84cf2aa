#include "parallel/mpi_communicator.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include "parallel/group_communicator.h"
#include "parallel/mpi_check.h"
#include "parallel/watchdog.h"

namespace moesaic::parallel {

namespace {

class MpiRequest : public Request {
 public:
  /// source: -1 for a send.
  MpiRequest(MPI_Request request, int rank, int source, int bytes)
      : request_(request), rank_(rank), source_(source), bytes_(bytes) {}

  bool done() override {
    int is_done = 0;
    MPI_Status status;
    MPI_CHECK(rank_, MPI_Test(&request_, &is_done, &status));
    if (!is_done || source_ < 0) {
      return is_done != 0;
    }
    int arrived = 0;
    MPI_CHECK(rank_, MPI_Get_count(&status, MPI_BYTE, &arrived));
    if (arrived != bytes_) {
      throw CommunicationError("rank " + std::to_string(rank_) + ": a message of " +
                               std::to_string(arrived) + " bytes came from rank " +
                               std::to_string(source_) + " where " + std::to_string(bytes_) +
                               " were expected");
    }
    return true;
  }

 private:
  MPI_Request request_;
  const int rank_, source_, bytes_;
};

class MpiTransport : public Transport {
 public:
  MpiTransport(int rank, int size) : rank_(rank), size_(size) {
    void* limit = nullptr;
    int is_set = 0;
    MPI_CHECK(rank_, MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &limit, &is_set));
    num_tags_ = is_set ? int64_t{*static_cast<int*>(limit)} + 1 : 32768;
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int64_t num_tags() const override { return num_tags_; }
  bool needs_polling() const override { return true; }
  std::string failure() override { return {}; }

  RequestPtr send(int destination, int64_t tag, const void* data, int64_t bytes) override {
    MPI_Request request;
    MPI_CHECK(rank_, MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, destination,
                               static_cast<int>(tag), MPI_COMM_WORLD, &request));
    return std::make_unique<MpiRequest>(request, rank_, /*source=*/-1, static_cast<int>(bytes));
  }

  RequestPtr receive(int source, int64_t tag, void* data, int64_t bytes) override {
    MPI_Request request;
    MPI_CHECK(rank_, MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, source,
                               static_cast<int>(tag), MPI_COMM_WORLD, &request));
    return std::make_unique<MpiRequest>(request, rank_, source, static_cast<int>(bytes));
  }

 private:
  const int rank_, size_;
  int64_t num_tags_ = 0;
};

/// Stands between the communication of a rank and the end of its session.
class MpiGuest : public MpiSession::Guest {
 public:
  MpiGuest(std::shared_ptr<CommunicationThread> thread, std::shared_ptr<Watchdog> watchdog,
           std::shared_ptr<GroupCommunicator> world, bool has_file)
      : thread_(std::move(thread)),
        watchdog_(std::move(watchdog)),
        world_(std::move(world)),
        has_file_(has_file) {}

  void before_finalize() override {
    // A rank that is somewhere else shows up here, with a message, and not as a hang in
    // MPI_Finalize.
    world_->barrier_named(OperationKind::finalize)->wait();
    thread_->stop();
    watchdog_->watch_section("MPI_Finalize");
  }

  void after_finalize() override {
    watchdog_->watch_section("");
    if (has_file_) {
      ::unlink(watchdog_->ring().path().c_str());
    }
  }

  void abandon() override { thread_->stop(); }

 private:
  const std::shared_ptr<CommunicationThread> thread_;
  const std::shared_ptr<Watchdog> watchdog_;
  const std::shared_ptr<GroupCommunicator> world_;
  const bool has_file_;
};

std::string ring_path(const CommunicationOptions& options, int rank) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string file = "rank-" + std::to_string(rank) + ".ring";
  if (!options.ring_folder.empty()) {
    fs::create_directories(options.ring_folder, error);
    return fs::absolute(options.ring_folder, error) / file;
  }
  const fs::path folder =
      ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : fs::temp_directory_path(error);
  std::random_device random;  // the name only; no result depends on it
  return folder /
         ("moesaic-" + std::to_string(getpid()) + "-" + std::to_string(random()) + "-" + file);
}

/// All ranks tell each other where their rings lie; those of this node are mapped.
void exchange_rings(Communicator& world, Watchdog& watchdog) {
  constexpr int64_t kHostBytes = 256, kBytes = 2048;
  const at::Tensor mine = at::zeros({kBytes}, at::kByte);
  const at::Tensor all = at::empty({world.size(), kBytes}, at::kByte);
  auto* place = reinterpret_cast<char*>(mine.mutable_data_ptr<uint8_t>());
  gethostname(place, kHostBytes - 1);
  const std::string& path = watchdog.ring().path();
  if (static_cast<int64_t>(path.size()) < kBytes - kHostBytes) {
    std::memcpy(place + kHostBytes, path.data(), path.size());
  }
  world.all_gather(all, mine)->wait();
  const auto* rows = reinterpret_cast<const char*>(all.const_data_ptr<uint8_t>());
  for (int rank = 0; rank < world.size(); ++rank) {
    const char* row = rows + rank * kBytes;
    if (rank != world.rank() && std::strcmp(row, place) == 0) {
      if (auto ring = OperationRing::open(row + kHostBytes, rank)) {
        watchdog.add_peer(rank, std::move(*ring));
      }
    }
  }
  world.barrier()->wait();
}

}  // namespace

CommunicatorPtr make_mpi_communicator(MpiSession& session, const CommunicationOptions& options) {
  if (!(options.timeout_s > 0) || options.max_message_bytes < 1 ||
      options.max_message_bytes > std::numeric_limits<int>::max()) {
    throw std::invalid_argument(
        "communication needs timeout_s > 0 and max_message_bytes in [1, 2^31 - 1], got " +
        c10::str(options.timeout_s) + " and " + std::to_string(options.max_message_bytes));
  }
  const int rank = session.rank();
  auto watchdog = std::make_shared<Watchdog>(OperationRing::create(ring_path(options, rank), rank),
                                             rank, options.timeout_s);
  auto thread =
      std::make_shared<CommunicationThread>(std::make_unique<MpiTransport>(rank, session.size()),
                                            std::make_shared<Bell>(), options, watchdog);
  Group group{.name = "world", .context = 0, .rank = rank, .world_ranks = {}};
  for (int other = 0; other < session.size(); ++other) {
    group.world_ranks.push_back(other);
  }
  auto world = std::make_shared<GroupCommunicator>(thread, std::move(group));
  session.set_guest(
      std::make_unique<MpiGuest>(thread, watchdog, world, !options.ring_folder.empty()));
  exchange_rings(*world, *watchdog);
  if (options.ring_folder.empty()) {
    ::unlink(watchdog->ring().path().c_str());
  }
  return world;
}

}  // namespace moesaic::parallel
