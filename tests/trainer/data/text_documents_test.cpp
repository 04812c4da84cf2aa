#include "trainer/data/text_documents.h"

#include "tests/trainer/data/dataset_files.h"

namespace moesaic::trainer {
namespace {

std::vector<std::string> documents_of(const std::string& path) {
  std::vector<std::string> documents;
  for_each_document(path, [&](std::string_view text) { documents.emplace_back(text); });
  return documents;
}

TEST(TextDocumentsTest, FoldersGiveTheirTextFilesInByteOrder) {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder.path("in/b"));
  for (const char* name : {"in/c.txt", "in/b/z.txt", "in/B.jsonl", "in/a.txt", "in/note.md"}) {
    write_bytes(folder.path(name), "x");
  }
  write_bytes(folder.path("other.md"), "x");
  EXPECT_EQ(find_text_files({folder.path("other.md"), folder.path("in")}),
            (std::vector<std::string>{folder.path("other.md"), folder.path("in/B.jsonl"),
                                      folder.path("in/a.txt"), folder.path("in/b/z.txt"),
                                      folder.path("in/c.txt")}));
}

TEST(TextDocumentsTest, MissingAndEmptyInputsAreNoInput) {
  TemporaryFolder folder;
  expect_exit_error([&] { find_text_files({folder.path("gone")}); }, ExitCode::kNoInput,
                    "gone: no such file or folder");
  std::filesystem::create_directory(folder.path("in"));
  expect_exit_error([&] { find_text_files({folder.path("in")}); }, ExitCode::kNoInput,
                    "in: no .txt or .jsonl file");
  expect_exit_error([&] { documents_of(folder.path("gone.jsonl")); }, ExitCode::kNoInput,
                    "gone.jsonl: cannot be opened");
}

TEST(TextDocumentsTest, ATextFileIsOneDocumentOfAnyBytes) {
  TemporaryFolder folder;
  const std::string bytes("a\r\n\0\xFF\xC3", 6);
  write_bytes(folder.path("x.txt"), bytes);
  EXPECT_EQ(documents_of(folder.path("x.txt")), std::vector<std::string>{bytes});
}

TEST(TextDocumentsTest, EveryJsonLineIsADocument) {
  TemporaryFolder folder;
  write_bytes(folder.path("x.jsonl"),
              "{\"text\": \"one\\n\"}\r\n\n  \n{\"id\": [1, {}], \"text\": \"\\u00e9 \xC3\xA9\"}\n"
              "{\"text\": \"no line feed at the end\"}");
  EXPECT_EQ(documents_of(folder.path("x.jsonl")),
            (std::vector<std::string>{"one\n", "\xC3\xA9 \xC3\xA9", "no line feed at the end"}));
}

TEST(TextDocumentsTest, BadJsonLinesNameFileAndLine) {
  TemporaryFolder folder;
  for (const std::string line :
       {"{\"text\": \"cut", "{\"body\": \"x\"}", "{\"text\": 7}", "{\"text\": null}", "[\"text\"]",
        "plain", "{\"text\": \"\xFF\"}", "{\"text\": \"x\"} {\"text\": \"y\"}"}) {
    write_bytes(folder.path("x.jsonl"), "{\"text\": \"good\"}\n" + line + "\n");
    expect_exit_error([&] { documents_of(folder.path("x.jsonl")); }, ExitCode::kBadFile,
                      "x.jsonl:2: a line must be a JSON object with a string \"text\"");
  }
}

}  // namespace
}  // namespace moesaic::trainer
