// A short name for the contents of data sets, kept in a checkpoint so that a resumed run notices
// other data.
#pragma once

#include <memory>
#include <string>

#include "trainer/data/indexed_dataset.h"

namespace moesaic::trainer {

/// xxh3-128 over, for each data set in the order given: the whole .idx, the size of .bin, and up to
/// 64 blocks of 4 KiB evenly spread over .bin. Paths do not enter: a moved data set is the same.
/// Costs one pass over the .idx and 256 KiB of .bin.
class DatasetFingerprint {
 public:
  DatasetFingerprint();
  ~DatasetFingerprint();

  /// Throws what DataFile::read throws.
  void add(const IndexedDataset& dataset);
  /// 32 hexadecimal digits.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moesaic::trainer
