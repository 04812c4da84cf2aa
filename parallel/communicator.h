// Ranks that exchange tensors. The one interface through which moesaic communicates.
//
// Back-ends: MPI (CPU tensors; mpi_communicator.h), threads of one process (tests;
// thread_communicator.h), one rank alone. A call only *issues* the operation; the returned Work is
// a future. All ranks of a communicator issue the same collectives in the same order, and they
// complete in that order; messages (send, recv) are ordered for each pair of ranks. Different
// communicators do not wait for each other. Operation, sequence number, size, type, root and splits
// are compared between the peers before a result may be used; a mismatch throws CommunicationError
// on both sides, and nothing can be exchanged after it.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace moesaic::parallel {

/// A deadline that passed, peers that disagree, a peer that is gone, or an error of the library.
/// The message names the rank, the operation, the peers and both values. Exit code 71.
class CommunicationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An operation in flight. Destroying a Work does not cancel the operation.
class Work {
 public:
  virtual ~Work() = default;
  /// Blocks until the output may be read and the input changed. Throws CommunicationError when the
  /// communicator's timeout (from the issue on) passes first, or when the operation failed; under
  /// MPI the watchdog then ends the process a few seconds later. May be called more than once.
  virtual void wait() = 0;
};
using WorkPtr = std::shared_ptr<Work>;

/// Tensors are contiguous CPU tensors (else std::invalid_argument, before anything is sent; a rank
/// that is alone in its communicator may have them on any device, the same for input and output)
/// and stay untouched until wait() returns (the Work holds a reference). Every operation must be
/// waited for before its communicator goes. Sums run in rank order in max(float32, dtype): the same
/// bits on every rank and every back-end. Not thread-safe: one caller at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// For messages: "world", "expert", ...
  virtual const std::string& name() const = 0;

  /// Collective over this communicator. Ranks with equal `color` form a new one, ordered by `key`
  /// and then by rank here.
  virtual std::shared_ptr<Communicator> split(int color, int key, const std::string& name) = 0;

  /// In place: x becomes the sum over ranks. Cost: 2 (size-1)/size of x on the wire.
  virtual WorkPtr all_reduce_sum(const at::Tensor& x) = 0;
  /// In place: x becomes the element-wise maximum over ranks (NaN wins).
  virtual WorkPtr all_reduce_max(const at::Tensor& x) = 0;
  /// output: size() * input.numel() elements, in rank order.
  virtual WorkPtr all_gather(const at::Tensor& output, const at::Tensor& input) = 0;
  /// input: size() * output.numel() elements; output is the sum over ranks of chunk rank().
  virtual WorkPtr reduce_scatter_sum(const at::Tensor& output, const at::Tensor& input) = 0;
  /// Rows (dimension 0) of `input` go to the ranks by `input_splits`; what arrives is ordered by
  /// source rank. Both splits have size() entries; the peers' splits are compared.
  /// Cost: size() - 1 messages.
  virtual WorkPtr all_to_all_v(const at::Tensor& output, const at::Tensor& input,
                               at::IntArrayRef output_splits, at::IntArrayRef input_splits) = 0;
  virtual WorkPtr broadcast(const at::Tensor& x, int root) = 0;
  /// Completes when the peer has issued the matching recv. Own rank: std::invalid_argument.
  virtual WorkPtr send(const at::Tensor& x, int destination) = 0;
  virtual WorkPtr recv(const at::Tensor& x, int source) = 0;
  virtual WorkPtr barrier() = 0;

  /// Payload bytes that this rank has sent to other ranks through this communicator so far.
  virtual int64_t bytes_sent() const = 0;
};
using CommunicatorPtr = std::shared_ptr<Communicator>;

}  // namespace moesaic::parallel
