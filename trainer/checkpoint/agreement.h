// Ranks that succeed or fail together: what one rank alone finds out (a full disk, a folder that is
// there already) is told to all before any of them moves, so that none is left in a collective.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace moesaic::trainer {

/// Collective. Everybody's text, by rank. Cost: two all_gathers of size() times the longest.
std::vector<std::string> gather_texts(parallel::Communicator& communicator,
                                      const std::string& text);

/// Collective. The text of `root`, on every rank.
std::string broadcast_text(parallel::Communicator& communicator, const std::string& text, int root);

/// Collective. Runs `body` on this rank, then compares notes: when it threw on any rank, every rank
/// throws the same ExitError, which names the failing ranks. A CommunicationError passes through.
/// Cost: one all_gather of 8 bytes when all is well. It is also a barrier.
void attempt_together(parallel::Communicator& communicator, const std::function<void()>& body);

}  // namespace moesaic::trainer
