# Defines moesaic::libtorch: the CPU part of LibTorch, without CUDA.
#
# The wheel that scripts/setup.sh unpacks is a CUDA build. Its TorchConfig.cmake insists on a CUDA
# toolkit and its libtorch.so would load the CUDA libraries, so we link libtorch_cpu, libc10 and the
# wheel's own libgomp by hand. Another LibTorch is used when CMAKE_PREFIX_PATH leads to one.
# Looked up at every configuration: a CMAKE_PREFIX_PATH that was set since then counts.
unset(MOESAIC_TORCH_INCLUDE CACHE)
unset(MOESAIC_TORCH_GOMP CACHE)
find_path(MOESAIC_TORCH_INCLUDE ATen/ATen.h
  PATH_SUFFIXES include torch/include
  PATHS ${CMAKE_PREFIX_PATH} ENV CMAKE_PREFIX_PATH ${MOESAIC_DEPS}/torch ${MOESAIC_DEPS}
  NO_DEFAULT_PATH)
if(NOT MOESAIC_TORCH_INCLUDE)
  message(FATAL_ERROR
    "LibTorch was not found in ${MOESAIC_DEPS}: run scripts/setup.sh, or set CMAKE_PREFIX_PATH")
endif()
get_filename_component(MOESAIC_TORCH_ROOT "${MOESAIC_TORCH_INCLUDE}" DIRECTORY)

file(STRINGS "${MOESAIC_TORCH_INCLUDE}/torch/headeronly/version.h" torch_version_lines
  REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
string(REGEX MATCHALL "[0-9]+" torch_version_numbers "${torch_version_lines}")
string(REPLACE ";" "." MOESAIC_TORCH_VERSION "${torch_version_numbers}")
if(MOESAIC_TORCH_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR
    "LibTorch >= 2.11 is needed, found ${MOESAIC_TORCH_VERSION} in ${MOESAIC_TORCH_ROOT}")
endif()
message(STATUS "LibTorch ${MOESAIC_TORCH_VERSION}: ${MOESAIC_TORCH_ROOT}")

add_library(moesaic_libtorch INTERFACE)
add_library(moesaic::libtorch ALIAS moesaic_libtorch)
target_include_directories(moesaic_libtorch SYSTEM INTERFACE
  ${MOESAIC_TORCH_ROOT}/include ${MOESAIC_TORCH_ROOT}/include/torch/csrc/api/include)
find_library(MOESAIC_TORCH_GOMP NAMES libgomp.so.1 PATHS ${MOESAIC_TORCH_ROOT}/lib NO_DEFAULT_PATH)
target_link_libraries(moesaic_libtorch INTERFACE
  ${MOESAIC_TORCH_ROOT}/lib/libtorch_cpu.so ${MOESAIC_TORCH_ROOT}/lib/libc10.so)
if(MOESAIC_TORCH_GOMP)
  target_link_libraries(moesaic_libtorch INTERFACE ${MOESAIC_TORCH_GOMP})
else()
  target_link_libraries(moesaic_libtorch INTERFACE gomp)
endif()
target_link_options(moesaic_libtorch INTERFACE "LINKER:--no-as-needed")

# moesaic::libtorch_cuda: its CUDA part, and the CUDA libraries that it was built with, in the
# wheels that scripts/setup.sh --cuda unpacks; those of another LibTorch in the toolkit.
if(MOESAIC_CUDA)
  if(NOT EXISTS ${MOESAIC_TORCH_ROOT}/lib/libtorch_cuda.so)
    message(FATAL_ERROR "${MOESAIC_TORCH_ROOT} is a LibTorch without CUDA")
  endif()
  set(nvidia ${MOESAIC_TORCH_ROOT}/../nvidia)
  # A second runtime and a second cuBLAS in one process would know nothing of LibTorch's.
  execute_process(COMMAND ${CMAKE_READELF} -d ${MOESAIC_TORCH_ROOT}/lib/libtorch_cuda.so
    OUTPUT_VARIABLE needed_by_libtorch COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCH "^[0-9]+" cuda_major "${CMAKE_CUDA_COMPILER_VERSION}")
  if(NOT needed_by_libtorch MATCHES "libcudart\\.so\\.([0-9]+)")
    message(FATAL_ERROR "${MOESAIC_TORCH_ROOT}/lib/libtorch_cuda.so links no libcudart.so: a "
      "runtime that is renamed or static cannot be shared with it")
  elseif(NOT CMAKE_MATCH_1 STREQUAL cuda_major)
    message(FATAL_ERROR "nvcc is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}, LibTorch was built with "
      "CUDA ${CMAKE_MATCH_1}: both must be of one major version")
  endif()
  # By version: a second runtime beside the one that LibTorch has would know nothing of its streams.
  file(GLOB cuda_wheel_folders ${nvidia}/cu*/lib)
  set(toolkit ${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT}/lib64)
  foreach(library cudart cublas)
    unset(MOESAIC_${library} CACHE)
    find_library(MOESAIC_${library} NAMES lib${library}.so.${cuda_major}
      PATHS ${cuda_wheel_folders} ${toolkit} NO_DEFAULT_PATH)
    if(NOT MOESAIC_${library})
      message(FATAL_ERROR
        "lib${library}.so.${cuda_major} was not found: run scripts/setup.sh --cuda")
    endif()
  endforeach()
  # Only to resolve at link time what LibTorch's libraries need; they know the way themselves.
  file(GLOB needed_folders ${nvidia}/*/lib)
  add_library(moesaic_libtorch_cuda INTERFACE)
  add_library(moesaic::libtorch_cuda ALIAS moesaic_libtorch_cuda)
  target_include_directories(moesaic_libtorch_cuda SYSTEM INTERFACE
    ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_link_libraries(moesaic_libtorch_cuda INTERFACE moesaic_libtorch
    ${MOESAIC_TORCH_ROOT}/lib/libtorch_cuda.so ${MOESAIC_TORCH_ROOT}/lib/libc10_cuda.so
    ${MOESAIC_cudart} ${MOESAIC_cublas})
  foreach(folder ${needed_folders})
    target_link_options(moesaic_libtorch_cuda INTERFACE "LINKER:-rpath-link,${folder}")
  endforeach()
endif()
