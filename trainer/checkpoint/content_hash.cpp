#include "trainer/checkpoint/content_hash.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <new>

namespace moesaic::trainer {

struct StreamHash::State {
  XXH3_state_t* xxh3;
};

std::string Hash128::hex() const {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low));
  return text;
}

StreamHash::StreamHash() : state_(new State{XXH3_createState()}) {
  if (state_->xxh3 == nullptr)
    throw std::bad_alloc();
  reset();
}

StreamHash::~StreamHash() {
  XXH3_freeState(state_->xxh3);
}

void StreamHash::reset() {
  XXH3_128bits_reset(state_->xxh3);
}

void StreamHash::update(const void* data, int64_t num_bytes) {
  XXH3_128bits_update(state_->xxh3, data, num_bytes);
}

Hash128 StreamHash::digest() const {
  const auto hash = XXH3_128bits_digest(state_->xxh3);
  return {hash.high64, hash.low64};
}

Hash128 hash_bytes(const void* data, int64_t num_bytes) {
  const auto hash = XXH3_128bits(data, num_bytes);
  return {hash.high64, hash.low64};
}

Hash128 hash_tensors(std::vector<TensorDigest> digests) {
  std::sort(digests.begin(), digests.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  StreamHash hash;
  for (const auto& digest : digests) {
    std::string line = digest.name + ' ' + std::string(tensor_type_name(digest.type)) + ' ';
    for (const int64_t dim : digest.shape)
      line += std::to_string(dim) + ',';
    line += ' ' + digest.bytes.hex() + '\n';
    hash.update(line.data(), static_cast<int64_t>(line.size()));
  }
  return hash.digest();
}

}  // namespace moesaic::trainer
