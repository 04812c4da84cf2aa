// What nearly every translation unit of ours needs of LibTorch and the standard library.
//
// Deliberately without torch/torch.h and torch/nn: those cost 10 s a file even when precompiled
// (measured: 17 s and 11 s against 3.5 s). The ATen functions (at::mm, at::rms_norm, ...) are all
// here, differentiable as always; modules are plain classes of ours.
#pragma once

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>
