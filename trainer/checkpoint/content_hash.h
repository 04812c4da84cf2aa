// xxh3-128: of bytes as they stream by, and of a set of tensors whatever files they lie in.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/tensor_type.h"

namespace moesaic::trainer {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  auto operator<=>(const Hash128&) const = default;
  /// 32 hexadecimal digits, as `xxhsum -H128` prints them.
  std::string hex() const;
};

/// Guards against accidents, not against an adversary.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;
  void update(const void* data, int64_t num_bytes);
  Hash128 digest() const;
  void reset();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Hash128 hash_bytes(const void* data, int64_t num_bytes);

/// What the hash of a set of tensors is made of: `bytes` is the hash of the tensor's bytes.
struct TensorDigest {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;
  Hash128 bytes;
};

/// xxh3-128 over "name dtype dim,dim,... bytes-hash\n" of every tensor in the order of the names:
/// independent of the files, of their order and of who wrote them.
Hash128 hash_tensors(std::vector<TensorDigest> digests);

}  // namespace moesaic::trainer
