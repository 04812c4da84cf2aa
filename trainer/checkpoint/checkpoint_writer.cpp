#include "trainer/checkpoint/checkpoint_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <ranges>

#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/written_ranges.h"
#include "trainer/exit_code.h"

namespace moesaic::trainer {
namespace {

constexpr const char* kWeightsIndexName = "model.safetensors.index.json";

// One save, from one rank's point of view. Each member up to clean_up() is one agreed stage.
class CheckpointSaver {
 public:
  CheckpointSaver(parallel::Communicator& communicator, const SaveRequest& request)
      : communicator_(communicator),
        request_(request),
        plan_(*request.plan),
        operations_(request.operations ? *request.operations : FileOperations::system()) {}

  SavedCheckpoint save() {
    name_folders();
    attempt_together(communicator_, [&] {
      owned_ = owned_ranges(plan_, request_.bytes, communicator_.rank());
      check_documents();
    });
    ranges_ = gather_ranges(communicator_, plan_, owned_);
    try {
      save_in_stages();
    } catch (const ExitError&) {
      // All ranks are here. Nobody leaves before rank 0 has cleaned up: the first exit ends the
      // job.
      if (is_first_rank())
        remove_temporary();
      communicator_.barrier()->wait();
      throw;
    }
    remove_old();
    return std::move(saved_);
  }

 private:
  void save_in_stages() {
    const auto together = [&](const std::function<void()>& body) {
      attempt_together(communicator_, body);
    };
    together([&] { reach("save.begin"); });
    together([&] { create_files(); });
    together([&] {
      write_ranges();
      reach("save.after_write");
    });
    together([&] {
      verify_files();
      reach("save.before_manifest");
    });
    gather_verified();
    together([&] {
      write_manifest();
      reach("save.before_rename");
    });
    together([&] { commit(); });
    together([&] {
      reach("save.after_rename");
      reach("save.before_latest");
    });
    together([&] { point_latest(); });
  }

  bool is_first_rank() const { return communicator_.rank() == 0; }

  void reach(const char* phase) {
    if (request_.at_phase)
      request_.at_phase(phase);
  }

  void name_folders() {
    std::string run_id = request_.run_id;
    if (is_first_rank() && run_id.empty())
      run_id = make_run_id();
    run_id_ = broadcast_text(communicator_, run_id, 0);
    final_ = request_.checkpoints / step_folder_name(request_.step);
    temporary_ = final_;
    temporary_ += ".tmp-" + run_id_;
    saved_.path = final_;
  }

  void check_documents() const {
    for (const auto& document : request_.documents) {
      if (!is_plain_file_name(document.name) || document.name == kManifestName ||
          document.name == kWeightsIndexName || document.name.ends_with(".safetensors")) {
        throw ExitError(ExitCode::kInternal,
                        "checkpoint: no document may be named " + printable(document.name));
      }
    }
  }

  void create_files() {
    if (!is_first_rank())
      return;
    std::error_code error;
    std::filesystem::create_directories(request_.checkpoints, error);
    if (error)
      throw_storage_error("create", request_.checkpoints, error.value());
    // A save of this very run that failed may have been unable to clean up.
    operations_.remove_tree(temporary_);
    if (operations_.mkdir(temporary_.c_str()) < 0) {
      throw_storage_error("create", temporary_, errno);
    }
    for (const auto& file : plan_.files()) {
      OpenFile(operations_, temporary_ / file.name, O_WRONLY | O_CREAT | O_EXCL)
          .allocate(file.num_bytes);
    }
    for (const auto& document : request_.documents) {
      write_text_file(operations_, temporary_ / document.name, document.text);
    }
    write_text_file(operations_, temporary_ / kWeightsIndexName, plan_.weights_index());
  }

  void write_ranges() {
    for (size_t next = 0; next < owned_.size();) {
      const int64_t file_idx = owned_[next].range.file_idx;
      OpenFile file(operations_, temporary_ / plan_.files()[file_idx].name, O_WRONLY);
      for (; next < owned_.size() && owned_[next].range.file_idx == file_idx; ++next) {
        const auto& part = owned_[next];
        file.write({part.data, static_cast<size_t>(part.range.num_bytes)}, part.range.begin);
      }
      file.flush();
    }
  }

  // File k is read back by rank k modulo the number of ranks.
  void verify_files() {
    const auto num_files = static_cast<int64_t>(plan_.files().size());
    for (int64_t file_idx = communicator_.rank(); file_idx < num_files;
         file_idx += communicator_.size()) {
      const auto verified = verify_written_file(operations_, temporary_, plan_, file_idx, ranges_);
      append(verified_, verified.file.hash);
      for (const auto& tensor : verified.tensors)
        append(verified_, tensor.bytes);
    }
  }

  static void append(std::string& text, const Hash128& hash) {
    static_assert(std::is_trivially_copyable_v<Hash128>);
    text.append(reinterpret_cast<const char*>(&hash), sizeof hash);
  }

  static Hash128 take(std::string_view& text) {
    Hash128 hash;
    text.copy(reinterpret_cast<char*>(&hash), sizeof hash);
    text.remove_prefix(sizeof hash);
    return hash;
  }

  // Collective. Fills in the manifest's safetensors files, the same on every rank.
  void gather_verified() {
    const auto texts = gather_texts(communicator_, verified_);
    std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<TensorDigest> digests;
    for (size_t file_idx = 0; file_idx < plan_.files().size(); ++file_idx) {
      const auto& file = plan_.files()[file_idx];
      auto& view = views[file_idx % views.size()];
      manifest_.files[file.name] = {file.num_bytes, take(view)};
      for (const auto& tensor : file.tensors) {
        digests.push_back({tensor.name, tensor.type, tensor.shape, take(view)});
      }
    }
    manifest_.step = request_.step;
    saved_.tensors = manifest_.tensors = hash_tensors(std::move(digests));
  }

  void write_manifest() {
    if (!is_first_rank())
      return;
    for (const auto& document : request_.documents) {
      add_document(document.name, document.text);
    }
    add_document(kWeightsIndexName, plan_.weights_index());
    const std::string text = manifest_text(manifest_);
    write_text_file(operations_, temporary_ / kManifestName, text);
    read_back(kManifestName, text);
    flush_folder(operations_, temporary_);
  }

  void add_document(const std::string& name, const std::string& text) {
    manifest_.files[name] = read_back(name, text);
  }

  ManifestFile read_back(const std::string& name, const std::string& text) {
    const auto path = temporary_ / name;
    const auto on_device = hash_file(operations_, path);
    if (on_device.hash != hash_bytes(text.data(), static_cast<int64_t>(text.size()))) {
      throw ExitError(ExitCode::kStorage, path.string() + " does not hold what was written");
    }
    return on_device;
  }

  // The rename is the commit. A folder of the same step changes places with the new one, so that at
  // no instant there is neither; where the file system cannot do that it is moved aside first.
  void commit() {
    if (!is_first_rank())
      return;
    std::error_code ignored;
    const auto status = std::filesystem::symlink_status(final_, ignored);
    if (!std::filesystem::exists(status)) {
      rename(temporary_, final_);
    } else if (operations_.exchange(temporary_.c_str(), final_.c_str()) < 0) {
      if (errno != EINVAL && errno != ENOSYS)
        throw_storage_error("replace", final_, errno);
      replace_in_two_steps();
    }
    is_committed_ = true;
    flush_folder(operations_, request_.checkpoints);
    // After an exchange the temporary name holds the old folder.
    if (std::filesystem::exists(temporary_))
      move_to_trash(temporary_);
  }

  void replace_in_two_steps() {
    const auto aside = trash_path(final_);
    rename(final_, aside);
    try {
      rename(temporary_, final_);
    } catch (const ExitError&) {
      operations_.rename(aside.c_str(), final_.c_str());
      throw;
    }
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (operations_.rename(from.c_str(), to.c_str()) < 0) {
      throw_storage_error("rename to " + to.string() + " the folder", from, errno);
    }
  }

  std::filesystem::path trash_path(const std::filesystem::path& path) {
    return request_.checkpoints / (".trash-" + path.filename().string() + "-" + run_id_);
  }

  // Renamed first, so that what is half removed can never pass for a checkpoint, nor be committed
  // by another writer that lost its lock.
  void move_to_trash(const std::filesystem::path& path) {
    const auto trash = trash_path(path);
    operations_.remove_tree(trash);
    if (operations_.rename(path.c_str(), trash.c_str()) < 0) {
      saved_.warnings.push_back("cannot move " + path.string() + " out of the way: " +
                                std::error_code(errno, std::generic_category()).message());
    }
  }

  void point_latest() {
    if (!is_first_rank())
      return;
    const auto latest = request_.checkpoints / "latest";
    const auto temporary = request_.checkpoints / ("latest.tmp-" + run_id_);
    write_text_file(operations_, temporary, step_folder_name(request_.step) + "\n");
    rename(temporary, latest);
    flush_folder(operations_, request_.checkpoints);
  }

  void remove_temporary() {
    if (!is_committed_)
      operations_.remove_tree(temporary_);
    operations_.remove_tree(request_.checkpoints / ("latest.tmp-" + run_id_));
  }

  // Nothing here can undo the commit, so what goes wrong is a warning.
  void remove_old() {
    if (is_first_rank()) {
      try {
        retire_folders();
        for (const auto& leftover : list_leftovers(request_.checkpoints))
          remove(leftover);
      } catch (const ExitError& error) {
        saved_.warnings.push_back(error.what());
      }
    }
    saved_.num_bytes = 0;
    for (const auto& file : plan_.files())
      saved_.num_bytes += file.num_bytes;
  }

  void retire_folders() {
    if (!request_.keep_last)
      return;
    auto folders = list_checkpoint_folders(request_.checkpoints);
    std::erase_if(folders, [&](const auto& folder) { return folder.step > request_.step; });
    const auto is_invalid = [&](const auto& folder) {
      return folder.step != request_.step &&
             std::ranges::find(request_.known_invalid, folder.path) != request_.known_invalid.end();
    };
    int64_t num_kept = 0;
    for (const auto& folder : folders | std::views::reverse) {
      const bool is_kept =
          !is_invalid(folder) && num_kept < std::max<int64_t>(*request_.keep_last, 1);
      num_kept += is_kept ? 1 : 0;
      if (!is_kept) {
        move_to_trash(folder.path);
      }
    }
  }

  void remove(std::filesystem::path path) {
    if (!path.filename().string().starts_with(".trash-")) {
      const auto trash = trash_path(path);
      if (operations_.rename(path.c_str(), trash.c_str()) == 0)
        path = trash;
    }
    if (const auto error = operations_.remove_tree(path)) {
      saved_.warnings.push_back("cannot remove " + path.string() + ": " + error.message());
    }
  }

  parallel::Communicator& communicator_;
  const SaveRequest& request_;
  const CheckpointPlan& plan_;
  FileOperations& operations_;
  std::string run_id_;
  std::filesystem::path final_;
  std::filesystem::path temporary_;
  std::vector<OwnedRange> owned_;
  std::vector<FileRange> ranges_;  // of all ranks
  std::string verified_;           // hashes of the files that this rank has read back
  Manifest manifest_;
  bool is_committed_ = false;
  SavedCheckpoint saved_{};
};

}  // namespace

SavedCheckpoint save_checkpoint(parallel::Communicator& communicator, const SaveRequest& request) {
  const FileSizeSignalGuard guard;
  return CheckpointSaver(communicator, request).save();
}

}  // namespace moesaic::trainer
