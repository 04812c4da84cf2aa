// What a user may choose about communication. Read from no environment variable.
#pragma once

#include <cstdint>
#include <string>

namespace moesaic::parallel {

struct CommunicationOptions {
  /// Seconds after which an operation that has not completed is an error (exit code 71).
  double timeout_s = 600;
  /// Folder of the operation rings (operation_ring.h), one file a rank, removed at a clean end.
  /// Empty: a private file in /dev/shm or $TMPDIR that loses its name as soon as all ranks of the
  /// node have mapped it, so that nothing is left behind by a killed job.
  std::string ring_folder = {};
  /// Longer payloads travel as several messages. MPI counts are 32-bit; tests lower this.
  int64_t max_message_bytes = int64_t{1} << 30;
};

}  // namespace moesaic::parallel
