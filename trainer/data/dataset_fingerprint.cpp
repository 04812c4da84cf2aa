#include "trainer/data/dataset_fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <new>
#include <vector>

namespace moesaic::trainer {

namespace {

constexpr int64_t kReadBytes = 1 << 20;
constexpr int64_t kBlockBytes = 4096;
constexpr int64_t kBlocks = 64;

}  // namespace

struct DatasetFingerprint::State {
  XXH3_state_t* hash = XXH3_createState();
  std::vector<std::byte> buffer;

  void add(const void* bytes, size_t count) { XXH3_128bits_update(hash, bytes, count); }
  void add_file_range(const DataFile& file, int64_t offset, int64_t count) {
    buffer.resize(static_cast<size_t>(count));
    file.read(offset, buffer);
    add(buffer.data(), buffer.size());
  }
};

DatasetFingerprint::DatasetFingerprint() : state_(std::make_unique<State>()) {
  if (state_->hash == nullptr) {
    throw std::bad_alloc();
  }
  XXH3_128bits_reset(state_->hash);
}

DatasetFingerprint::~DatasetFingerprint() {
  XXH3_freeState(state_->hash);
}

void DatasetFingerprint::add(const IndexedDataset& dataset) {
  const DataFile& index = dataset.index_file();
  for (int64_t offset = 0; offset < index.size(); offset += kReadBytes) {
    state_->add_file_range(index, offset, std::min(kReadBytes, index.size() - offset));
  }
  const DataFile& tokens = dataset.token_file();
  const int64_t size = tokens.size();
  state_->add(&size, sizeof(size));
  const int64_t last_block = (size + kBlockBytes - 1) / kBlockBytes - 1;
  int64_t previous = -1;
  for (int64_t i = 0; i < kBlocks && last_block >= 0; ++i) {
    const int64_t block = last_block * i / (kBlocks - 1);
    if (block != previous) {
      const int64_t offset = block * kBlockBytes;
      state_->add_file_range(tokens, offset, std::min(kBlockBytes, size - offset));
      previous = block;
    }
  }
}

std::string DatasetFingerprint::hex() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->hash));
  std::string digits;
  for (const unsigned char byte : canonical.digest) {
    digits += "0123456789abcdef"[byte >> 4];
    digits += "0123456789abcdef"[byte & 15];
  }
  return digits;
}

}  // namespace moesaic::trainer
