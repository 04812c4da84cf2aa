// The name of a function of this program by its address.
#pragma once

#include <string>

namespace moesaic::kernels::cuda {

/// The symbol of the function that starts at `address`, mangled; "" if the program has no such
/// function or was stripped. Reads the whole table of symbols: a few milliseconds.
std::string function_name(const void* address);

}  // namespace moesaic::kernels::cuda
