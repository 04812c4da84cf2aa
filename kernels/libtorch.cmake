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
