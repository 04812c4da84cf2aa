"""Which mutants were killed, a line of JSON each, in the folder that keeps the compiled mutants.

So that a run that was interrupted goes on, and that after tests were added only those mutants run
again that were left. A record is of one text of the kernels: of another it is empty.
"""

import hashlib
import json
from pathlib import Path
from threading import Lock

from mutant_sites import Mutant, mutated_files


def text_of_kernels(root: Path) -> str:
    """Of all that decides which mutants there are and what they do."""
    files = [*mutated_files(root), *root.glob("kernels/cuda/emulation/*"),
             root / "scripts/mutant_sites.py"]
    texts = b"".join(file.read_bytes() for file in sorted(files))
    return hashlib.sha256(texts).hexdigest()


class Record:
    """keep: goes on with the file that is there; else, and where it is of other kernels, that file
    is put aside."""

    def __init__(self, file: Path, kernels: str, keep: bool):
        self.file, self.lock = file, Lock()
        first = json.dumps({"kernels": kernels})
        # Without what an interruption may have left of a line.
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        if not keep or lines[:1] != [first]:
            if lines:
                print(f"mutate_kernels: starting anew, {file} is now {file.name}.old")
                file.rename(file.with_name(file.name + ".old"))
            lines = [first]
        file.write_text("\n".join(lines) + "\n")
        entries = [json.loads(line) for line in lines[1:]]
        self.flavours = {(entry["file"], entry["number"]): entry["flavour"] for entry in entries}

    def flavour(self, mutant: Mutant) -> str:
        """That which killed it, "" for the living."""
        return self.flavours.get((mutant.file.name, mutant.number), "")

    def add(self, mutant: Mutant, flavour: str, words: str) -> None:
        entry = {"file": mutant.file.name, "number": mutant.number, "line": mutant.line,
                 "before": mutant.before, "after": mutant.after, "flavour": flavour,
                 "words": words}
        with self.lock, self.file.open("a") as file:
            self.flavours[entry["file"], entry["number"]] = flavour
            file.write(json.dumps(entry) + "\n")
