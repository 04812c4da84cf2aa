#include "trainer/checkpoint/content_hash.h"

#include <gtest/gtest.h>

namespace moesaic::tests {
namespace {

using trainer::TensorDigest;
using trainer::TensorType;

// The published value of the empty input (xxHash specification, XXH3-128 without a seed).
TEST(ContentHash, IsXxh3128) {
  EXPECT_EQ(trainer::hash_bytes("", 0).hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(ContentHash, StreamEqualsOneCall) {
  std::string bytes(100'003, '\0');
  for (size_t idx = 0; idx < bytes.size(); ++idx)
    bytes[idx] = static_cast<char>(idx * 7 % 251);
  trainer::StreamHash hash;
  for (size_t begin = 0; begin < bytes.size(); begin += 999) {
    const auto part = bytes.substr(begin, 999);
    hash.update(part.data(), static_cast<int64_t>(part.size()));
  }
  EXPECT_EQ(hash.digest(), trainer::hash_bytes(bytes.data(), static_cast<int64_t>(bytes.size())));
  hash.reset();
  EXPECT_EQ(hash.digest(), trainer::hash_bytes("", 0));
}

TEST(ContentHash, TensorsCountByNameTypeShapeAndBytesNotByOrder) {
  const TensorDigest a{"a", TensorType::kF32, {2, 3}, {1, 2}};
  const TensorDigest b{"b", TensorType::kF32, {6}, {3, 4}};
  const auto both = trainer::hash_tensors({a, b});
  EXPECT_EQ(both, trainer::hash_tensors({b, a}));
  auto changed = a;
  changed.name = "c";
  EXPECT_NE(both, trainer::hash_tensors({changed, b}));
  changed = a;
  changed.type = TensorType::kI32;
  EXPECT_NE(both, trainer::hash_tensors({changed, b}));
  changed = a;
  changed.shape = {3, 2};
  EXPECT_NE(both, trainer::hash_tensors({changed, b}));
  changed = a;
  changed.bytes.low = 5;
  EXPECT_NE(both, trainer::hash_tensors({changed, b}));
  EXPECT_NE(both, trainer::hash_tensors({a}));
}

}  // namespace
}  // namespace moesaic::tests
