#include "kernels/cuda/emulation/order.h"

#include <charconv>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "kernels/cuda/emulation/thread_order.h"

namespace moesaic::kernels::cuda::emulation {
namespace {

std::mutex mutex;
std::optional<Order> chosen;
uint64_t num_drawn_launches = 0;

Order chosen_or_environment() {
  if (!chosen) {
    const char* text = std::getenv("MOESAIC_CUDA_EMULATION_ORDER");
    chosen = text ? Order::parse(text) : Order{};
  }
  return *chosen;
}

}  // namespace

Order Order::parse(const std::string& text) {
  const auto colon = text.find(':');
  const auto kind = text.substr(0, colon);
  Order order;
  if (colon != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data() + colon + 1, end, order.seed);
    if (error != std::errc() || stopped != end) {
      throw std::invalid_argument("thread order '" + text + "': the seed is not a number");
    }
  }
  const bool has_seed = colon != std::string::npos;
  if (kind == "forward" && !has_seed) {
    order.kind = Kind::kForward;
  } else if (kind == "reverse" && !has_seed) {
    order.kind = Kind::kReverse;
  } else if (kind == "random") {
    order.kind = Kind::kRandom;
  } else if (kind == "pct") {
    order.kind = Kind::kPriorities;
  } else {
    throw std::invalid_argument("thread order '" + text +
                                "' is none of forward, reverse, random:SEED, pct:SEED");
  }
  return order;
}

std::string Order::name() const {
  switch (kind) {
    case Kind::kForward:
      return "forward";
    case Kind::kReverse:
      return "reverse";
    case Kind::kRandom:
      return "random:" + std::to_string(seed);
    case Kind::kPriorities:
      return "pct:" + std::to_string(seed);
  }
  throw std::logic_error("an order of no kind");
}

void set_order(const Order& order) {
  const std::lock_guard lock(mutex);
  chosen = order;
  num_drawn_launches = 0;
}

Order current_order() {
  const std::lock_guard lock(mutex);
  return chosen_or_environment();
}

Order order_of_next_launch(uint64_t& launch) {
  const std::lock_guard lock(mutex);
  const auto order = chosen_or_environment();
  launch = num_drawn_launches++;
  return order;
}

const std::vector<Order>& eight_orders() {
  using enum Order::Kind;
  static const std::vector<Order> orders = {{kForward, 0},    {kReverse, 0},    {kRandom, 1},
                                            {kRandom, 2},     {kPriorities, 1}, {kPriorities, 2},
                                            {kPriorities, 3}, {kPriorities, 4}};
  return orders;
}

}  // namespace moesaic::kernels::cuda::emulation
