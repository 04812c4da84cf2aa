#include "trainer/stop_signal.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace moesaic::trainer {
namespace {

std::atomic<bool> stop_requested{false};
std::atomic<long> last_interrupt_s{0};
static_assert(std::atomic<long>::is_always_lock_free);

// Only async-signal-safe calls here.
extern "C" void on_stop_signal(int signal_number) {
  stop_requested.store(true);
  if (signal_number != SIGINT) {
    return;
  }
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long previous = last_interrupt_s.exchange(now.tv_sec);
  if (previous != 0 && now.tv_sec - previous <= 5) {
    _exit(128 + SIGINT);
  }
}

}  // namespace

void install_stop_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal_number : {SIGUSR1, SIGTERM, SIGINT}) {
    sigaction(signal_number, &action, nullptr);
  }
}

bool stop_was_requested() {
  return stop_requested.load();
}

}  // namespace moesaic::trainer
