// What every back-end must do: bodies that run on all ranks of a communicator, as threads
// (communicator_test.cpp) and under mpirun (mpi_communicator_test.cpp).
#pragma once

#include <ostream>
#include <vector>

#include "parallel/communicator.h"

namespace moesaic::tests {

struct CommunicatorCase {
  const char* name;
  void (*body)(const parallel::CommunicatorPtr& communicator);
};
inline void PrintTo(const CommunicatorCase& value, std::ostream* out) {
  *out << value.name;
}

const std::vector<CommunicatorCase>& communicator_cases();

/// Reductions of numbers whose sum depends on the order, in all floating types: the bytes of the
/// results, to compare back-ends.
std::vector<char> reduction_bits(parallel::Communicator& communicator);

}  // namespace moesaic::tests
