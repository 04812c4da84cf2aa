#include "trainer/checkpoint/checkpoint_reader.h"

#include <set>
#include <sstream>

#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/written_ranges.h"

namespace moesaic::trainer {
namespace {

constexpr int64_t kMaxDocumentBytes = int64_t{64} << 20;
constexpr size_t kMaxNamedDifferences = 8;

void check_file(const std::filesystem::path& path, const ManifestFile& expected) {
  const auto actual = hash_file(FileOperations::system(), path);
  if (actual.num_bytes != expected.num_bytes) {
    throw ExitError(ExitCode::kStorage, path.string() + " has " + std::to_string(actual.num_bytes) +
                                            " bytes, " + kManifestName + " says " +
                                            std::to_string(expected.num_bytes));
  }
  if (actual.hash != expected.hash) {
    throw ExitError(ExitCode::kStorage, path.string() + " has the xxh3-128 " + actual.hash.hex() +
                                            ", " + kManifestName + " says " + expected.hash.hex() +
                                            ": its contents have changed");
  }
}

void check_step(const Manifest& manifest, const std::filesystem::path& folder) {
  const auto step = parse_step_folder_name(folder.filename().string());
  if (step && *step != manifest.step) {
    throw ExitError(ExitCode::kStorage, (folder / kManifestName).string() + " is of step " +
                                            std::to_string(manifest.step));
  }
}

// A stray weight file would be taken for a part of the model by other programs.
void check_no_stray_tensors(const Manifest& manifest, const std::filesystem::path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".safetensors") && !manifest.files.contains(name)) {
      throw ExitError(ExitCode::kStorage,
                      entry->path().string() + " is not listed in " + kManifestName);
    }
  }
  if (error)
    throw_storage_error("list", folder, error.value());
}

// This rank's share of the files, in turn. Cost: reads them.
void check_files(const Manifest& manifest, const std::filesystem::path& folder, int rank,
                 int num_ranks) {
  int turn = 0;
  for (const auto& [name, file] : manifest.files) {
    if (turn++ % num_ranks != rank)
      continue;
    check_file(folder / name, file);
    if (name.ends_with(".safetensors"))
      SafetensorsFile(folder / name);
  }
}

void validate_together(parallel::Communicator& communicator, const std::filesystem::path& folder) {
  attempt_together(communicator, [&] {
    const auto manifest = read_manifest(folder);
    check_files(manifest, folder, communicator.rank(), communicator.size());
    if (communicator.rank() != 0)
      return;
    check_step(manifest, folder);
    check_no_stray_tensors(manifest, folder);
    TensorFolder::open_checkpoint(folder);
  });
}

// The steps that rank 0 sees, newest first, the same on every rank.
std::vector<int64_t> list_steps(parallel::Communicator& communicator,
                                const std::filesystem::path& checkpoints) {
  std::string text;
  attempt_together(communicator, [&] {
    if (communicator.rank() != 0)
      return;
    for (const auto& folder : list_checkpoint_folders(checkpoints)) {
      text = std::to_string(folder.step) + ' ' + text;
    }
  });
  std::istringstream stream(broadcast_text(communicator, text, 0));
  std::vector<int64_t> steps;
  for (int64_t step; stream >> step;)
    steps.push_back(step);
  return steps;
}

std::string describe(TensorType type, const std::vector<int64_t>& shape) {
  std::string text = std::string(tensor_type_name(type)) + " [";
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    text += (dim > 0 ? ", " : "") + std::to_string(shape[dim]);
  }
  return text + "]";
}

std::string join(const std::vector<std::string>& differences) {
  std::string text;
  for (size_t idx = 0; idx < std::min(differences.size(), kMaxNamedDifferences); ++idx) {
    text += (idx > 0 ? "; " : "") + differences[idx];
  }
  if (differences.size() > kMaxNamedDifferences) {
    text += "; and " + std::to_string(differences.size() - kMaxNamedDifferences) + " more";
  }
  return text;
}

// Replicas read the same bytes, so at least as many bytes as there are must have been asked for.
void check_all_were_read(parallel::Communicator& communicator,
                         const std::vector<LogicalTensor>& expected,
                         const std::vector<TensorDestination>& destinations) {
  std::map<std::string, int64_t> index_of;
  for (const auto& tensor : expected) {
    index_of.emplace(tensor.name, static_cast<int64_t>(index_of.size()));
  }
  const auto num_read = at::zeros({static_cast<int64_t>(index_of.size()) + 1}, at::kLong);
  auto* counts = num_read.mutable_data_ptr<int64_t>();
  for (const auto& part : destinations)
    counts[index_of.at(part.name)] += part.num_bytes;
  communicator.all_reduce_sum(num_read)->wait();
  std::vector<std::string> differences;
  for (const auto& tensor : expected) {
    const int64_t wanted = tensor_num_bytes(tensor.name, tensor.type, tensor.shape);
    const int64_t read = counts[index_of.at(tensor.name)];
    if (read < wanted) {
      differences.push_back("of " + tensor.name + " the ranks have read " + std::to_string(read) +
                            " of " + std::to_string(wanted) + " bytes");
    }
  }
  if (!differences.empty()) {
    throw ExitError(ExitCode::kInternal, "checkpoint: " + join(differences));
  }
}

}  // namespace

Manifest validate_checkpoint(const std::filesystem::path& folder) {
  auto manifest = read_manifest(folder);
  check_step(manifest, folder);
  check_files(manifest, folder, /*rank=*/0, /*num_ranks=*/1);
  check_no_stray_tensors(manifest, folder);
  TensorFolder::open_checkpoint(folder);
  return manifest;
}

std::optional<CheckpointFolder> newest_valid(
    parallel::Communicator& communicator, const std::filesystem::path& checkpoints,
    const std::function<void(const std::filesystem::path& folder, const std::string& reason)>&
        on_skip) {
  const auto steps = list_steps(communicator, checkpoints);
  for (const int64_t step : steps) {
    const auto folder = checkpoints / step_folder_name(step);
    try {
      validate_together(communicator, folder);
      return CheckpointFolder{step, folder};
    } catch (const ExitError& error) {
      if (on_skip)
        on_skip(folder, error.what());
    }
  }
  if (steps.empty())
    return std::nullopt;
  throw ExitError(ExitCode::kStorage, "none of the " + std::to_string(steps.size()) +
                                          " checkpoints in " + checkpoints.string() +
                                          " is valid; move them away to start from the beginning");
}

void check_tensors(const TensorFolder& tensors, const std::vector<LogicalTensor>& expected,
                   const std::string& label, ExitCode code) {
  std::vector<std::string> differences;
  std::set<std::string> names;
  for (const auto& tensor : expected) {
    names.insert(tensor.name);
    const auto* found = tensors.find(tensor.name);
    if (found == nullptr) {
      differences.push_back("tensor " + tensor.name + " is missing");
    } else if (found->type != tensor.type || found->shape != tensor.shape) {
      differences.push_back("tensor " + tensor.name + " is " + describe(found->type, found->shape) +
                            ", expected " + describe(tensor.type, tensor.shape));
    }
  }
  for (const auto& [name, place] : tensors.places()) {
    if (!names.contains(name))
      differences.push_back("tensor " + name + " is not expected");
  }
  if (!differences.empty())
    throw ExitError(code, label + ": " + join(differences));
}

void load_checkpoint(parallel::Communicator& communicator, const std::filesystem::path& folder,
                     const std::vector<LogicalTensor>& expected,
                     const std::vector<TensorDestination>& destinations) {
  attempt_together(communicator, [&] {
    const auto tensors = TensorFolder::open_checkpoint(folder);
    check_tensors(tensors, expected, folder.string(), ExitCode::kStorage);
    for (const auto& part : destinations) {
      tensors.read(part.name, part.offset, part.data, part.num_bytes);
    }
  });
  check_all_were_read(communicator, expected, destinations);
}

std::string read_document(parallel::Communicator& communicator, const std::filesystem::path& folder,
                          const std::string& name) {
  std::string text;
  attempt_together(communicator, [&] {
    if (communicator.rank() == 0)
      text = read_text_file(folder / name, kMaxDocumentBytes);
  });
  return broadcast_text(communicator, text, 0);
}

}  // namespace moesaic::trainer
