// dladdr would need the program's symbols exported, and never finds functions of internal linkage.
#include "kernels/cuda/function_name.h"

#include <elf.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <vector>

namespace moesaic::kernels::cuda {
namespace {

// The program is the first object that the loader lists.
uintptr_t load_address() {
  uintptr_t address = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* out) {
        *static_cast<uintptr_t*>(out) = object->dlpi_addr;
        return 1;
      },
      &address);
  return address;
}

template <class T>
std::vector<T> read(std::ifstream& file, uint64_t offset, uint64_t num_bytes) {
  std::vector<T> items(num_bytes / sizeof(T));
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(items.data()),
            static_cast<std::streamsize>(items.size() * sizeof(T)));
  return items;
}

}  // namespace

std::string function_name(const void* address) {
  const uintptr_t value = reinterpret_cast<uintptr_t>(address) - load_address();
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const auto header = read<ElfW(Ehdr)>(file, 0, sizeof(ElfW(Ehdr))).front();
  const auto sections =
      read<ElfW(Shdr)>(file, header.e_shoff, uint64_t{header.e_shnum} * sizeof(ElfW(Shdr)));
  for (const auto& section : sections) {
    if (section.sh_type != SHT_SYMTAB) {
      continue;
    }
    for (const auto& symbol : read<ElfW(Sym)>(file, section.sh_offset, section.sh_size)) {
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value == value) {
        const auto& names = sections.at(section.sh_link);
        const auto text = read<char>(file, names.sh_offset, names.sh_size);
        return &text.at(symbol.st_name);
      }
    }
  }
  return "";
}

}  // namespace moesaic::kernels::cuda
