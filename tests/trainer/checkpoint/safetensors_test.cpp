// The verdict on every kind of file: what the reference reader (safetensors 0.8.0) refuses is
// refused here, and so are the dubious ones that it accepts.
#include "trainer/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "tests/trainer/checkpoint/checkpoint_fixture.h"
#include "trainer/exit_code.h"

namespace moesaic::tests {
namespace {

using testing::HasSubstr;
using trainer::ExitCode;
using trainer::SafetensorsFile;
using trainer::SafetensorsTensor;
using trainer::TensorType;

std::string with_length(const std::string& header, const std::string& data, uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

// A file whose header is padded as the format asks for.
std::string file_of(std::string header, size_t num_data_bytes) {
  header.append((8 - header.size() % 8) % 8, ' ');
  return with_length(header, std::string(num_data_bytes, 'x'), header.size());
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

// A file of one tensor "a".
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                size_t num_data_bytes) {
  return file_of("{\"a\":" + entry(dtype, shape, offsets) + "}", num_data_bytes);
}

std::string named(const std::string& name) {
  return file_of("{\"" + name + "\":" + entry("\"U8\"", "[2]", "[0,2]") + "}", 2);
}

const std::string kA = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";

std::string nested(int depth) {
  return file_of(R"({"a":{"x":)" + std::string(depth, '[') + std::string(depth, ']') +
                     R"(,"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                 1);
}

struct Case {
  const char* title;
  std::string bytes;
  /// A fragment of the message; nullptr: accepted.
  const char* problem;
};

std::vector<Case> envelope_cases() {
  const std::string valid = file_of("{" + kA + "}", 8);
  return {
      {"valid", valid, nullptr},
      {"empty file", "", "8 are the least"},
      {"seven bytes", std::string(7, '\0'), "8 are the least"},
      {"length only", std::string(8, '\0'), "not valid JSON"},
      {"header longer than the file", with_length("{}      ", "", 16), "claims 16 bytes"},
      {"header of 2^64-1", with_length("{}      ", "", ~uint64_t{0}), "at most 100000000"},
      {"header of 2^63", with_length("{}      ", "", uint64_t{1} << 63), "at most 100000000"},
      {"header above the cap", with_length("{}      ", "", 100'000'008), "at most 100000000"},
      {"header at the cap, short file", with_length("{}      ", "", 100'000'000), "the file has"},
      {"unaligned header", with_length("{}", "", 2), "multiple of 8"},
      {"no tensors", file_of("{}", 0), nullptr},
      {"no tensors, but data", file_of("{}", 1), "end at byte 0"},
      {"trailing byte", valid + "x", "end at byte 8"},
      {"one byte short", valid.substr(0, valid.size() - 1), "go beyond"},
      {"pickle", std::string("\x80\x02}q\x01(X\x05\x00\x00\x00stateq\x02", 18), "at most"},
      {"zip", std::string("PK\x03\x04\x14\x00\x00\x00\x08\x00", 10) + std::string(40, 'x'),
       "claims"},
  };
}

std::vector<Case> json_cases() {
  return {
      {"list", file_of("[]", 0), "expected an object"},
      {"number", file_of("3", 0), "expected an object"},
      {"string", file_of("\"a\"", 0), "expected an object"},
      {"null", file_of("null", 0), "expected an object"},
      {"not JSON", file_of("hello", 0), "not valid JSON"},
      {"unterminated", file_of("{" + kA, 8), "not valid JSON"},
      {"two objects", file_of("{" + kA + "}{}", 8), "not valid JSON"},
      {"trailing comma", file_of("{" + kA + ",}", 8), "not valid JSON"},
      {"comment", file_of("{" + kA + "/* */}", 8), "not valid JSON"},
      {"single quotes", file_of("{'a':{}}", 0), "not valid JSON"},
      {"space before", file_of("  \n{" + kA + "}", 8), nullptr},
      {"space after", file_of("{" + kA + "} \t\r\n", 8), nullptr},
      {"NUL padding", file_of("{" + kA + "}" + std::string(3, '\0'), 8), "NUL byte"},
      {"NUL first", file_of(std::string(1, '\0') + "{" + kA + "}", 8), "NUL byte"},
      {"byte order mark", file_of("\xef\xbb\xbf{" + kA + "}", 8), "byte order mark"},
      {"not UTF-8", file_of("{\"\xff\xfe\":" + entry("\"U8\"", "[1]", "[0,1]") + "}", 1),
       "not valid JSON"},
      {"half a surrogate", named("\\ud800"), "not valid JSON"},
      {"deep", file_of(std::string(100'000, '['), 0), "expected an object"},
      {"deep in an unknown field", nested(100'000), "nested too deeply"},
      {"nested in an unknown field", nested(20), nullptr},
  };
}

std::vector<Case> metadata_cases() {
  const auto with = [](const std::string& metadata) {
    return file_of("{\"__metadata__\":" + metadata + "," + kA + "}", 8);
  };
  return {
      {"metadata", with(R"({"format":"pt","b":""})"), nullptr},
      {"metadata last", file_of("{" + kA + R"(,"__metadata__":{"format":"pt"}})", 8), nullptr},
      {"metadata empty", with("{}"), nullptr},
      {"metadata null", with("null"), nullptr},
      {"metadata number", with(R"({"a":1})"), "__metadata__ must map strings"},
      {"metadata nested", with(R"({"a":{}})"), "__metadata__ must map strings"},
      {"metadata list", with(R"({"a":[]})"), "__metadata__ must map strings"},
      {"metadata null value", with(R"({"a":null})"), "__metadata__ must map strings"},
      {"metadata is a string", with("\"pt\""), "__metadata__"},
      {"metadata is a list", with("[]"), "__metadata__"},
      {"metadata twice", file_of(R"({"__metadata__":{},)" + kA + R"(,"__metadata__":{}})", 8),
       "appears twice"},
      {"metadata key twice", with(R"({"a":"1","a":"1"})"), "twice"},
  };
}

std::vector<Case> field_cases() {
  return {
      {"unknown field",
       file_of(R"({"a":{"x":{"y":[1,null,-1,1e3,"z",true]},"dtype":"U8",)"
               R"("shape":[1],"data_offsets":[0,1]}})",
               1),
       nullptr},
      {"no dtype", file_of(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), "dtype is missing"},
      {"no shape", file_of(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8), "shape is missing"},
      {"no offsets", file_of(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "data_offsets is missing"},
      {"dtype twice",
       file_of(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],)"
               R"("data_offsets":[0,8]}})",
               8),
       "dtype appears twice"},
      {"shape twice",
       file_of(R"({"a":{"dtype":"F32","shape":[2],"shape":[2],)"
               R"("data_offsets":[0,8]}})",
               8),
       "shape appears twice"},
      {"tensor is null", file_of(R"({"a":null})", 0), "expected an object"},
      {"tensor is a list", file_of(R"({"a":["F32",[2],[0,8]]})", 8), "expected an object"},
      {"dtype lower case", one("\"f32\"", "[2]", "[0,8]", 8), "unknown dtype 'f32'"},
      {"dtype of torch", one("\"float32\"", "[2]", "[0,8]", 8), "unknown dtype"},
      {"dtype with a space", one("\"F32 \"", "[2]", "[0,8]", 8), "unknown dtype"},
      {"dtype a number", one("32", "[2]", "[0,8]", 8), "is a number"},
      {"dtype null", one("null", "[2]", "[0,8]", 8), "is null"},
      {"shape negative", one("\"F32\"", "[-2]", "[0,8]", 8), "unsigned integers"},
      {"shape float", one("\"F32\"", "[2.0]", "[0,8]", 8), "unsigned integers"},
      {"shape string", one("\"F32\"", "[\"2\"]", "[0,8]", 8), "unsigned integers"},
      {"shape nested", one("\"F32\"", "[[2]]", "[0,8]", 8), "unsigned integers"},
      {"shape a number", one("\"F32\"", "2", "[0,8]", 8), "is a number"},
      {"shape 2^64", one("\"F32\"", "[18446744073709551616]", "[0,8]", 8), "unsigned integers"},
      {"offsets one", one("\"F32\"", "[2]", "[8]", 8), "two unsigned integers"},
      {"offsets three", one("\"F32\"", "[2]", "[0,8,8]", 8), "more than two"},
      {"offsets none", one("\"F32\"", "[2]", "[]", 8), "two unsigned integers"},
      {"offsets negative", one("\"F32\"", "[2]", "[-8,0]", 8), "two unsigned integers"},
      {"offsets minus zero", one("\"F32\"", "[2]", "[-0,8]", 8), "two unsigned integers"},
      {"offsets float", one("\"F32\"", "[2]", "[0.0,8]", 8), "two unsigned integers"},
      {"offsets exponent", one("\"F32\"", "[4]", "[0,1.6e1]", 16), "two unsigned integers"},
      {"offsets string", one("\"F32\"", "[2]", "[\"0\",8]", 8), "two unsigned integers"},
      {"offsets 2^64", one("\"F32\"", "[2]", "[0,18446744073709551616]", 8),
       "two unsigned integers"},
      {"offsets leading zero", one("\"F32\"", "[2]", "[0,08]", 8), "not valid JSON"},
  };
}

std::vector<Case> layout_cases() {
  const auto two = [](const std::string& a, const std::string& b, size_t num_data_bytes) {
    return file_of(
        "{\"a\":" + entry("\"U8\"", "[4]", a) + ",\"b\":" + entry("\"U8\"", "[4]", b) + "}",
        num_data_bytes);
  };
  return {
      {"two tensors", two("[0,4]", "[4,8]", 8), nullptr},
      {"two tensors, any order", two("[4,8]", "[0,4]", 8), nullptr},
      {"hole at the start", two("[4,8]", "[8,12]", 12), "must begin where"},
      {"hole between", two("[0,4]", "[5,9]", 9), "must begin where"},
      {"overlap", two("[0,4]", "[3,7]", 7), "must begin where"},
      {"the same bytes twice", two("[0,4]", "[0,4]", 4), "must begin where"},
      {"end before begin", one("\"U8\"", "[0]", "[0,-4]", 0), "two unsigned integers"},
      {"end beyond the data", two("[0,4]", "[4,8]", 7), "go beyond"},
      {"end far beyond", one("\"U8\"", "[18446744073709551608]", "[0,18446744073709551608]", 8),
       "go beyond"},
      {"end at 2^63", one("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]", 8),
       "go beyond"},
      {"too few bytes", one("\"F32\"", "[2]", "[0,7]", 7), "do not hold the 8 bytes"},
      {"too many bytes", one("\"F32\"", "[2]", "[0,9]", 9), "do not hold the 8 bytes"},
      {"a product that wraps", one("\"F32\"", "[4611686018427387905,4]", "[0,16]", 16),
       "overflows"},
      {"bits that wrap", one("\"F64\"", "[288230376151711744]", "[0,0]", 0), "overflows"},
      {"wraps, then zero", one("\"F32\"", "[4294967296,4294967296,0]", "[0,0]", 0), "overflows"},
      {"zero, then large", one("\"F32\"", "[0,4294967296,4294967296]", "[0,0]", 0), nullptr},
      {"zero elements", one("\"F32\"", "[0]", "[0,0]", 0), nullptr},
      {"rank 0", one("\"F32\"", "[]", "[0,4]", 4), nullptr},
      {"zero elements between",
       file_of("{\"z\":" + entry("\"F32\"", "[2,0]", "[8,8]") + "," + kA +
                   ",\"b\":" + entry("\"U8\"", "[1]", "[8,9]") + "}",
               9),
       nullptr},
      {"half a byte", one("\"F4\"", "[1]", "[0,1]", 1), "whole number of bytes"},
      {"two halves", one("\"F4\"", "[2]", "[0,1]", 1), nullptr},
      {"four of six bits", one("\"F6_E2M3\"", "[4]", "[0,3]", 3), nullptr},
      {"three of six bits", one("\"F6_E3M2\"", "[3]", "[0,3]", 3), "whole number of bytes"},
      {"BOOL of 2", one("\"BOOL\"", "[1]", "[0,1]", 1), nullptr},
      {"eight dimensions", one("\"U8\"", "[1,1,1,1,1,1,1,1]", "[0,1]", 1), nullptr},
      {"nine dimensions", one("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]", 1), "dimensions"},
  };
}

std::vector<Case> name_cases() {
  const std::string twice = entry("\"U8\"", "[2]", "[0,2]");
  return {
      {"hub name", named("model.layers.0.mlp.experts.63.gate_proj.weight"), nullptr},
      {"every allowed character", named("AZaz09_.-/x"), nullptr},
      {"512 characters", named(std::string(512, 'n')), nullptr},
      {"513 characters", named(std::string(513, 'n')), "1 to 512"},
      {"1 MiB", named(std::string(1 << 20, 'n')), "1 to 512"},
      {"empty name", named(""), "1 to 512"},
      {"path out of the folder", named("../../etc/passwd"), "1 to 512"},
      {"NUL in a name", named("a\\u0000b"), "1 to 512"},
      {"space in a name", named("a b"), "1 to 512"},
      {"newline in a name", named("a\\nb"), "1 to 512"},
      {"escape sequence in a name", named("\\u001b[31mred"), "\\x1b"},
      {"letter beyond ASCII", named("\xc3\xa9"), "1 to 512"},
      {"name twice, same bytes", file_of("{\"a\":" + twice + ",\"a\":" + twice + "}", 2),
       "must begin where|appears twice"},
      {"name twice, other bytes",
       file_of("{\"a\":" + twice + ",\"a\":" + entry("\"U8\"", "[2]", "[2,4]") + "}", 4),
       "appears twice"},
      {"name twice, no bytes",
       file_of("{\"a\":" + entry("\"U8\"", "[0]", "[0,0]") +
                   ",\"a\":" + entry("\"U8\"", "[0]", "[0,0]") + "}",
               0),
       "appears twice"},
      {"name twice, one escaped",
       file_of("{\"a\":" + entry("\"U8\"", "[0]", "[0,0]") +
                   ",\"\\u0061\":" + entry("\"U8\"", "[0]", "[0,0]") + "}",
               0),
       "appears twice"},
  };
}

class SafetensorsVerdict : public CheckpointFixture {
 protected:
  // The problem that opening the bytes as a file meets; empty when there is none.
  std::string verdict(const std::string& bytes) {
    const auto path = root() / "case.safetensors";
    write_bytes(path, bytes);
    try {
      SafetensorsFile file(path);
      for (const auto& tensor : file.tensors()) {
        std::string data(tensor.num_bytes, '\0');
        file.read(tensor, 0, data.data(), tensor.num_bytes);
      }
    } catch (const trainer::ExitError& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadFile);
      EXPECT_THAT(error.what(), HasSubstr("case.safetensors"));
      return error.what();
    }
    return {};
  }

  void check(const std::vector<Case>& cases, size_t num_cases) {
    EXPECT_EQ(cases.size(), num_cases);
    for (const auto& test : cases) {
      const std::string problem = verdict(test.bytes);
      if (test.problem == nullptr) {
        EXPECT_EQ(problem, "") << test.title;
      } else if (const std::string wanted = test.problem; wanted.find('|') != std::string::npos) {
        EXPECT_THAT(problem, testing::AnyOf(HasSubstr(wanted.substr(0, wanted.find('|'))),
                                            HasSubstr(wanted.substr(wanted.find('|') + 1))))
            << test.title;
      } else {
        EXPECT_THAT(problem, HasSubstr(wanted)) << test.title;
      }
    }
  }
};

TEST_F(SafetensorsVerdict, Envelope) {
  check(envelope_cases(), 16);
}
TEST_F(SafetensorsVerdict, Json) {
  check(json_cases(), 20);
}
TEST_F(SafetensorsVerdict, Metadata) {
  check(metadata_cases(), 12);
}
TEST_F(SafetensorsVerdict, Fields) {
  check(field_cases(), 29);
}
TEST_F(SafetensorsVerdict, Layout) {
  check(layout_cases(), 26);
}
TEST_F(SafetensorsVerdict, Names) {
  check(name_cases(), 16);
}

TEST_F(SafetensorsVerdict, EveryTypeOfTheClosedListHasItsSize) {
  const std::vector<std::pair<const char*, int64_t>> types = {
      {"BOOL", 8},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
      {"I8", 8},          {"F8_E5M2", 8},     {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
      {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},        {"F32", 32},    {"C64", 64},    {"F64", 64},
      {"I64", 64},        {"U64", 64}};
  ASSERT_EQ(types.size(), 22u);
  for (const auto& [name, bits] : types) {
    const auto num_bytes = static_cast<size_t>(4 * bits / 8);
    const std::string offsets = "[0," + std::to_string(num_bytes) + "]";
    EXPECT_EQ(verdict(one('"' + std::string(name) + '"', "[4]", offsets, num_bytes)), "") << name;
    const auto type = trainer::find_tensor_type(name);
    ASSERT_TRUE(type) << name;
    EXPECT_EQ(trainer::tensor_type_name(*type), name);
    EXPECT_EQ(trainer::tensor_type_bits(*type), bits);
    if (const auto scalar_type = trainer::to_scalar_type(*type)) {
      EXPECT_EQ(trainer::to_tensor_type(*scalar_type), *type);
      EXPECT_EQ(static_cast<int64_t>(c10::elementSize(*scalar_type)) * 8, bits) << name;
    }
  }
  EXPECT_THROW(trainer::to_tensor_type(at::kComplexDouble), trainer::ExitError);
}

TEST_F(SafetensorsVerdict, TooManyTensors) {
  std::string header = "{";
  for (int idx = 0; idx <= 1'000'000; ++idx) {
    header += (idx > 0 ? "," : "") + std::string("\"t") + std::to_string(idx) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_THAT(verdict(file_of(header + "}", 0)), HasSubstr("more than 1000000 tensors"));
}

TEST_F(SafetensorsVerdict, WhatIsNoFileIsNamedAndNotWaitedFor) {
  const auto code_of = [&](const std::filesystem::path& path) {
    try {
      SafetensorsFile file(path);
    } catch (const trainer::ExitError& error) {
      EXPECT_THAT(error.what(), HasSubstr(path.string()));
      return error.code();
    }
    return ExitCode::kDone;
  };
  EXPECT_EQ(code_of(root() / "absent.safetensors"), ExitCode::kNoInput);
  EXPECT_EQ(code_of(root()), ExitCode::kBadFile);
  EXPECT_EQ(code_of("/dev/zero"), ExitCode::kBadFile);
  const auto pipe = root() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(code_of(pipe), ExitCode::kBadFile);
}

TEST_F(SafetensorsVerdict, ReadsRangesAndRefusesOthers) {
  const auto path = root() / "ranges.safetensors";
  std::vector<SafetensorsTensor> tensors = {{"b", TensorType::kI64, {2}, 0, 0},
                                            {"a", TensorType::kU8, {5}, 0, 0}};
  const std::string header = build_safetensors_header(tensors);
  write_bytes(path, header + "0123456789abcdefVWXYZ");
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "b");
  std::string data(3, '\0');
  file.read(file.tensors()[1], 2, data.data(), 3);
  EXPECT_EQ(data, "XYZ");
  EXPECT_THROW(file.read(file.tensors()[1], 3, data.data(), 3), trainer::ExitError);
  EXPECT_THROW(file.read(file.tensors()[1], -1, data.data(), 1), trainer::ExitError);
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(header.size()) + 18), 0);
  EXPECT_THROW(file.read(file.tensors()[1], 2, data.data(), 3), trainer::ExitError);
}

TEST_F(SafetensorsVerdict, HeaderIsCanonical) {
  std::vector<SafetensorsTensor> tensors = {{"b", TensorType::kF32, {2, 1}, 0, 0},
                                            {"a.weight", TensorType::kBF16, {}, 0, 0}};
  const std::string header = build_safetensors_header(tensors);
  EXPECT_EQ(header.size() % 8, 0u);
  EXPECT_EQ(header.substr(8), R"({"__metadata__":{"format":"pt"},)"
                              R"("b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                              R"("a.weight":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}})"
                              "    ");
  EXPECT_EQ(tensors[1].begin, static_cast<int64_t>(header.size()) + 8);
  EXPECT_EQ(verdict(header + "0123456789"), "");
  std::vector<SafetensorsTensor> unaligned = {{"a", TensorType::kU8, {1}, 0, 0},
                                              {"b", TensorType::kF32, {1}, 0, 0}};
  EXPECT_THROW(build_safetensors_header(unaligned), trainer::ExitError);
  std::vector<SafetensorsTensor> bad_name = {{"a\"b", TensorType::kU8, {1}, 0, 0}};
  EXPECT_THROW(build_safetensors_header(bad_name), trainer::ExitError);
  std::vector<SafetensorsTensor> bad_shape = {{"a", TensorType::kU8, {-1}, 0, 0}};
  EXPECT_THROW(build_safetensors_header(bad_shape), trainer::ExitError);
}

}  // namespace
}  // namespace moesaic::tests
