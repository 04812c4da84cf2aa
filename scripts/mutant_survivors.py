"""In kernels/cuda/README.md: the mutants that no test can notice, each with the proof.

The last section of that file. An entry is one item of a list under the name of its file, on as many
lines as it needs:
  ### block_scan.h
  - `the line of source` (2): `before` -> `after`, `before` -> `another`: why nothing changes.
(2) is there for the second of equal lines with equal changes.
"""

import re
from pathlib import Path
from typing import NamedTuple

from mutant_sites import Mutant

SECTION = "\n## Mutants that no test can notice\n"
CHANGE = r"`([^`]+)` -> `([^`]+)`"
ENTRY = re.compile(rf"- `([^`]+)`(?: \((\d+)\))?: ({CHANGE}(?:, {CHANGE})*): (.+)")


class Listed(NamedTuple):
    file: str
    text: str
    before: str
    after: str
    occurrence: int

    def is_of(self, mutant: Mutant) -> bool:
        return self == (mutant.file.name, mutant.text, mutant.before, mutant.after,
                        mutant.occurrence)


def read_list(file: Path) -> list[Listed]:
    """Raises ValueError for an item that is no entry, or where there is no such section."""
    entries: list[Listed] = []
    name = ""
    parts = file.read_text().split(SECTION)
    if len(parts) != 2:
        raise ValueError(f"{file}: {len(parts) - 1} sections called{SECTION.rstrip()}")
    items = re.sub(r"\n  +", " ", parts[1]).splitlines()
    for item in items:
        if heading := re.match(r"### (\S+)$", item):
            name = heading[1]
        elif item.strip() and name:
            if not (match := ENTRY.fullmatch(item)):
                raise ValueError(f"{file}: not an entry: {item}")
            entries += [Listed(name, match[1], before, after, int(match[2] or 1))
                        for before, after in re.findall(CHANGE, match[3])]
    return entries


def unproven(survivors: list[Mutant], listed: list[Listed]) -> list[Mutant]:
    return [mutant for mutant in survivors if not any(entry.is_of(mutant) for entry in listed)]


def wrong_entries(listed: list[Listed], mutants: list[Mutant]) -> list[str]:
    """Entries of changes that can no longer be made, and those that stand there twice."""
    wrong = [f"README.md: no such mutant: {entry.file}: {entry.text}: {entry.before} -> "
             f"{entry.after} ({entry.occurrence})"
             for entry in listed if not any(entry.is_of(mutant) for mutant in mutants)]
    return wrong + [f"README.md: twice: {entry.file}: {entry.text}: {entry.after}"
                    for entry in sorted(set(listed)) if listed.count(entry) > 1]
