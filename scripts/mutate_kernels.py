#!/usr/bin/env python3
"""Are the tests of the CUDA kernels able to fail? Changes each kernel in one place at a time.

  scripts/mutate_kernels.py --list                        every mutant: number, file:line, change
  scripts/mutate_kernels.py                               runs all; --write: README.md's table
  scripts/mutate_kernels.py --file block_scan.h --only 3  runs some: one file, one number of it
  scripts/mutate_kernels.py --work DIR --again            goes on: those alone that the last run in
                                                          this folder has not killed
  scripts/mutate_kernels.py --check-list                  README.md against the sources alone: exit
                                                          1 if its list names what is no mutant, or
                                                          its table has other numbers of them
  scripts/mutate_kernels.py --self-test                   a handful, with known fates

Mutants (mutant_sites.py) of kernels/cuda/*.cu and of the headers there that they compute with: each
barrier removed, each shuffle swapped, each bound shifted, each comparison flipped. All mutants of a
file are compiled at once, for the emulation, next to the original; a number in the environment says
which of them is awake (mutant schemata: Untch, Offutt, Harrold, 1993). So a kernel is compiled once
a flavour; tests, LibTorch and the emulation are the objects of the build (--build).

Runs with none awake, one a flavour, show that the tests pass then and which of them reaches which
mutants. Then for each mutant the tests that reach it run in the eight thread orders, up to the
first failure; what survives runs with AddressSanitizer and UndefinedBehaviorSanitizer, and with
ThreadSanitizer. Ten times the processor time of the original means that the mutant hangs.
Exit 1 if a mutant survives that kernels/cuda/README.md does not prove to be equivalent, or if one
is noticed that it calls equivalent. Numbers are fixed by the text of a file. Exit 77 where the
emulation cannot run.
"""

import argparse
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutant_program import CannotRun, Program, dependents
from mutant_record import Record, text_of_kernels
from mutant_sites import Mutant, find_mutants, mutated_files
from mutant_survivors import Listed, read_list, unproven, wrong_entries

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "kernels/cuda/README.md"
FOUND, CANNOT_RUN = 1, 77
FLAVOURS = ("plain", "asan", "tsan")
TABLE = re.compile(r"(<!-- mutants -->\n).*?(<!-- end of mutants -->)", re.DOTALL)

# The self-test: (file, what is replaced, by what, the flavour that notices).
KNOWN = (
    ("block_scan.h", "__syncthreads()", "nothing", "tsan"),
    ("block_scan.h", "w < warp", "w <= warp", "plain"),
    ("warp_reduce.h", "__shfl_up_sync", "__shfl_down_sync", "plain"),
    ("sort_chunks.cu", "begin_BA[middle] <= r", "begin_BA[middle] < r", "plain"),
    ("sort_chunks.cu", "threadIdx.x == 0", "threadIdx.x != 0", "tsan"),
    ("sort_chunks.cu", "unit < row_units", "unit <= row_units", "asan"),
)


def describe(mutant: Mutant) -> str:
    return (f"{mutant.file.name}#{mutant.number} kernels/cuda/{mutant.file.name}:{mutant.line}: "
            f"{mutant.before} -> {mutant.after}")


def is_listed(mutant: Mutant, listed: list[Listed]) -> bool:
    return any(entry.is_of(mutant) for entry in listed)


def run_all(mutants: list[Mutant], program: Program, flavours: list[str], jobs: int,
            listed: list[Listed], record: Record) -> dict[Mutant, str]:
    """Runs all in each flavour until something notices them, and prints their fates. Returns the
    flavour that noticed each, or "" for the survivors."""
    fates = {mutant: record.flavour(mutant) for mutant in mutants}
    left = [mutant for mutant in mutants if not fates[mutant] and program.reaching(mutant)]
    for mutant in (mutant for mutant in mutants if fates[mutant] and is_listed(mutant, listed)):
        print(f"{describe(mutant)}: killed THOUGH LISTED AS EQUIVALENT, in the run before")
    for flavour in flavours:
        def is_killed(mutant: Mutant, flavour: str = flavour) -> bool:
            outcome = program.run(flavour, mutant)
            if outcome.killed:
                known = " THOUGH LISTED AS EQUIVALENT" if is_listed(mutant, listed) else ""
                print(f"{describe(mutant)}: killed{known}: {flavour}, {outcome.words}", flush=True)
                record.add(mutant, flavour, outcome.words)
            return outcome.killed

        with ThreadPoolExecutor(jobs) as pool:
            killed = list(pool.map(is_killed, left))
        fates |= {mutant: flavour for mutant, dead in zip(left, killed, strict=True) if dead}
        left = [mutant for mutant in left if not fates[mutant]]
        print(f"mutate_kernels: {flavour}: {sum(killed)} killed, {len(left)} left", flush=True)
    for mutant in (mutant for mutant in mutants if not fates[mutant]):
        reached = "" if program.reaching(mutant) else ", no test reaches it"
        print(f"{describe(mutant)}: {'equivalent' if is_listed(mutant, listed) else 'SURVIVED'}"
              f"{reached}")
    return fates


def table(fates: dict[Mutant, str], listed: list[Listed]) -> str:
    """What became of the mutants, a line a file."""
    head = ["file", "mutants", "barriers", *(f"killed: {flavour}" for flavour in FLAVOURS),
            "equivalent", "unproven"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    names = sorted({mutant.file.name for mutant in fates})
    for name in [*names, "all"]:
        of_file = {mutant: fate for mutant, fate in fates.items()
                   if name in (mutant.file.name, "all")}
        survivors = [mutant for mutant, fate in of_file.items() if not fate]
        proven = sum(is_listed(mutant, listed) for mutant in survivors)
        cells = [name, len(of_file), sum(mutant.is_barrier for mutant in of_file),
                 *(list(of_file.values()).count(flavour) for flavour in FLAVOURS), proven,
                 len(survivors) - proven]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def stale_rows(mutants: list[Mutant], listed: list[Listed]) -> list[str]:
    """Rows of README.md's table that are not of these mutants, which only a run can mend."""
    there = TABLE.search(README.read_text())[0]
    rows = {cells[0]: (int(cells[1]), int(cells[-2])) for line in there.splitlines()
            if len(cells := [cell.strip() for cell in line.split("|")[1:-1]]) > 1
            and cells[1].isdigit()}
    now = {name: (sum(mutant.file.name == name for mutant in mutants),
                  sum(entry.file == name for entry in listed))
           for name in {mutant.file.name for mutant in mutants}}
    now["all"] = (len(mutants), len(listed))
    return [f"README.md, --write: {name} has {rows.get(name, 'no row')} mutants and equivalent "
            f"ones in the table, {now.get(name, 'none')} in the sources"
            for name in sorted(rows.keys() | now.keys()) if rows.get(name) != now.get(name)]


def write_table(text: str) -> None:
    found, number = TABLE.subn(lambda match: f"{match[1]}{text}\n{match[2]}", README.read_text())
    if number != 1:
        sys.exit(f"mutate_kernels: {README} has not its two markers")
    README.write_text(found)


def self_test(program: Program, mutants: list[Mutant]) -> int:
    """Known mutants are killed, and a survivor that no list names is a failure."""
    wrong = 0
    for file, before, after, flavour in KNOWN:
        alike = [mutant for mutant in mutants
                 if (mutant.file.name, mutant.before, mutant.after) == (file, before, after)]
        if not alike:
            print(f"self-test: {file} has no mutant {before} -> {after}")
            wrong += 1
        for mutant in alike[:1]:
            outcome = program.run(flavour, mutant)
            wrong += not outcome.killed
            print(f"self-test: {describe(mutant)}: "
                  f"{'killed' if outcome.killed else 'SURVIVED'}: {flavour}, {outcome.words}",
                  flush=True)
    entry = Listed(mutants[0].file.name, mutants[0].text, mutants[0].before, mutants[0].after, 1)
    if unproven(mutants[:1], [entry]) or unproven(mutants[:1], []) != mutants[:1]:
        print("self-test: the list of survivors is not what decides")
        wrong += 1
    print("self-test: " + (f"{wrong} failures" if wrong else "the tests notice known mutants"))
    return FOUND if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check-list", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--write", action="store_true",
                        help="put the totals of a run over all into kernels/cuda/README.md")
    parser.add_argument("--file", action="append", metavar="NAME", help="block_scan.h")
    parser.add_argument("--only", type=int, action="append", metavar="N", help="of --file")
    parser.add_argument("--flavours", nargs="+", choices=FLAVOURS, default=list(FLAVOURS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--build", type=Path, default=ROOT / "build",
                        help="a configured build (Ninja)")
    parser.add_argument("--built", action="store_true", help="the build is up to date as it is")
    parser.add_argument("--work", type=Path,
                        help="keeps the compiled mutants and the verdicts here for a next run")
    parser.add_argument("--again", action="store_true",
                        help="with --work: go on with the verdicts that are there. What was killed "
                        "stays killed: for tests that were added")
    arguments = parser.parse_args()
    if arguments.again and not arguments.work:
        parser.error("--again goes on in a folder: --work")
    if arguments.only and len(arguments.file or []) != 1:
        parser.error("--only is a number of one --file")
    if arguments.write and (arguments.file or set(arguments.flavours) != set(FLAVOURS)):
        parser.error("--write wants all files and all flavours")

    files = mutated_files(ROOT)
    everything = [mutant for file in files for mutant in find_mutants(file)]
    listed = read_list(README)
    wrong = wrong_entries(listed, everything)
    if arguments.check_list:
        wrong += stale_rows(everything, listed)
    for words in wrong:
        print(f"mutate_kernels: {words}")
    if wrong or arguments.check_list:
        return FOUND if wrong else 0
    chosen = [mutant for mutant in everything
              if (not arguments.file or mutant.file.name in arguments.file)
              and (not arguments.only or mutant.number in arguments.only)]
    if not chosen:
        parser.error("no such mutant")
    if arguments.list:
        print("\n".join(map(describe, chosen)))
        return 0

    with tempfile.TemporaryDirectory() as folder:
        try:
            kernels = ["sort_chunks.cu"] if arguments.self_test else dependents(
                ROOT, arguments.file)
            work = arguments.work or Path(folder)
            program = Program(ROOT, arguments.build, work, everything,
                              kernels, arguments.flavours, arguments.built,
                              "CudaSortChunks.*" if arguments.self_test else "*")
            if arguments.self_test:
                return self_test(program, everything)
            record = Record(work / "killed.jsonl", text_of_kernels(ROOT), arguments.again)
            fates = run_all(chosen, program, arguments.flavours, arguments.jobs, listed, record)
        except CannotRun as why:
            print(f"mutate_kernels: skipped, {why}")
            return CANNOT_RUN
    print(table(fates, listed))
    if arguments.write:
        write_table(table(fates, listed))
    disproved = any(is_listed(mutant, listed) for mutant in fates if fates[mutant])
    survivors = [mutant for mutant in fates if not fates[mutant]]
    return FOUND if disproved or unproven(survivors, listed) else 0


if __name__ == "__main__":
    sys.exit(main())
