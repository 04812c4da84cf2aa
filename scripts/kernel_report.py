#!/usr/bin/env python3
"""What nvcc makes of kernels/cuda/*.cu: registers, spills, shared memory, access widths, bytes.

  scripts/kernel_report.py                  compiles for all architectures, prints the tables
  scripts/kernel_report.py --write          and puts them between the markers of
                                            kernels/cuda/README.md
  scripts/kernel_report.py --check --arch sm_90
      exit 1 if any instantiation spills or has a stack frame, if permute, unpermute or activation
      move their rows in less than 128 bits, or if README.md says otherwise of this architecture
      (its table names the nvcc that made it; another one's rows are not compared)

Needs nvcc, cuobjdump and nvdisasm: of the CUDA toolkit, on the PATH, in CUDA_HOME or in .deps
(scripts/setup.sh --cuda puts the two there; toolkits may lack them). Exit 77 without. Needs no GPU.
Compiled files are kept in --cache and used again while sources and compiler are the same.
"""

import argparse
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from kernel_rows import ARCHITECTURES, BENCH_SHAPE, ROWS, Architecture, Row, bytes_of

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "kernels/cuda/README.md"
FOUND_NOTHING, CANNOT_RUN = 1, 77
ACCESS = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(LDG|STG|LDL|STL)((?:\.\w+)*)\s",
                    re.MULTILINE)
WIDTHS = {"256": 256, "128": 128, "64": 64, "U16": 16, "S16": 16, "U8": 8, "S8": 8}


class Compiled(NamedTuple):
    """One instantiation for one architecture."""
    name: str  # permute_tokens_kernel<Pack<unsigned int, 4>>
    registers: int
    stack: int  # bytes a thread: arrays that could not stay in registers, and spills
    spills: int  # bytes a thread, stores and loads
    shared: int  # static, bytes a block
    accesses: dict[tuple[str, int], int]  # (LDG, 128) -> instructions


# --- compile and read back ------------------------------------------------------------------


def find_tool(name: str, folders: list[Path]) -> Path | None:
    for folder in folders:
        if os.access(folder / name, os.X_OK):
            return folder / name
    found = shutil.which(name)
    return Path(found) if found else None


def output_of(*command: object, stdin: str | None = None) -> str:
    """Both streams of a command. Ends the program, with its words, when it fails."""
    done = subprocess.run([str(word) for word in command], input=stdin, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"kernel_report: {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def short_name(demangled: str) -> str:
    """'void moesaic::kernels::cuda::f<A, 2>(int)' -> 'f<A, 2>'."""
    name = demangled.replace("moesaic::kernels::cuda::", "").removeprefix("void ")
    depth = 0
    for at, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0 and not name.startswith("(anonymous", at):
            return name[:at].replace("> >", ">>")
    return name


def demangle(names: list[str]) -> dict[str, str]:
    plain = output_of("c++filt", stdin="\n".join(names)).splitlines()
    return {mangled: short_name(name) for mangled, name in zip(names, plain, strict=True)}


def width_of(suffixes: str) -> int:
    return next((WIDTHS[word] for word in suffixes.split(".") if word in WIDTHS), 32)


def read_cubin(cubin: Path, ptxas_log: str, tools: dict[str, Path]) -> list[Compiled]:
    usage = dict(re.findall(r"Function (\S+):\s*\n\s*(REG:.*)",
                            output_of(tools["cuobjdump"], "--dump-resource-usage", cubin)))
    spills = {}
    for function, stores, loads in re.findall(
            r"Function properties for (\S+)\s.*?(\d+) bytes spill stores, (\d+) bytes spill loads",
            ptxas_log, re.DOTALL):
        spills[function] = int(stores) + int(loads)
    listing = re.split(r"^\.text\.(\S+):$", output_of(tools["nvdisasm"], "-c", cubin),
                       flags=re.MULTILINE)
    code = dict(zip(listing[1::2], listing[2::2], strict=True))
    names = demangle(sorted(usage))
    compiled = []
    for function in sorted(usage):
        numbers = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", usage[function])}
        accesses: dict[tuple[str, int], int] = {}
        for word, suffixes in ACCESS.findall(code[function]):
            key = word, width_of(suffixes)
            accesses[key] = accesses.get(key, 0) + 1
        compiled.append(Compiled(names[function], numbers["REG"], numbers["STACK"],
                                 spills[function], numbers["SHARED"], accesses))
    return compiled


def included_headers() -> list[Path]:
    """Of kernels/cuda, by the kernels and by one another."""
    found, waiting = set(), list(ROOT.glob("kernels/cuda/*.cu"))
    while waiting:
        for name in re.findall(r'#include "(kernels/cuda/[\w.]+)"', waiting.pop().read_text()):
            if (file := ROOT / name) not in found:
                found.add(file)
                waiting.append(file)
    return sorted(found)


def compile_kernels(arch: str, tools: dict[str, Path], cache: Path) -> list[Compiled]:
    """All instantiations of kernels/cuda/*.cu for one architecture."""
    cache.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++20", "-O3", "-DNDEBUG", f"-I{ROOT}", "-cubin", f"-arch={arch}", "-Xptxas",
             "-v"]
    headers = b"".join(file.read_bytes() for file in included_headers())
    version = nvcc_release(tools)
    compiled = []
    for source in sorted(ROOT.glob("kernels/cuda/*.cu")):
        key = hashlib.sha256(source.read_bytes() + headers +
                             f"{version} {flags[1:4]}{flags[5:]}".encode()).hexdigest()[:16]
        cubin = cache / f"{source.stem}.{arch}.{key}.cubin"
        log = cubin.with_suffix(".log")
        if not log.exists():
            words = output_of(tools["nvcc"], *flags, "-o", cubin, source)
            log.write_text(words)  # last: its presence says that the cubin is complete
        compiled += read_cubin(cubin, log.read_text(), tools)
    return compiled


def nvcc_release(tools: dict[str, Path]) -> str:
    return re.search(r"V(\d+\.\d+\.\d+)", output_of(tools["nvcc"], "--version"))[1]


# --- what follows from it -------------------------------------------------------------------


def occupancy(architecture: Architecture, registers: int, shared: int, threads: int) -> int:
    """Per cent of the warps that an SM can hold, by the CUDA programming guide's limits."""
    warps = math.ceil(threads / 32)
    registers_of_warp = math.ceil(registers * 32 / 256) * 256
    by_registers = architecture.registers // 4 // registers_of_warp * 4 // warps
    shared_of_block = math.ceil((shared + 1024) / 128) * 128  # the system keeps 1 KiB
    by_shared = architecture.shared_bytes // shared_of_block
    blocks = min(architecture.blocks, architecture.warps // warps, by_registers, by_shared)
    return round(100 * blocks * warps / architecture.warps)


def of_row(row: Row, name: str, compiled: list[Compiled]) -> Compiled:
    matches = [one for one in compiled if one.name == name]
    if len(matches) != 1:
        sys.exit(f"kernel_report: {len(matches)} instantiations named {name} ({row.kernel}); there "
                 f"are {', '.join(one.name for one in compiled if row.kernel in one.name)}")
    return matches[0]


def access_counts(one: Compiled, word: str) -> str:
    """'8x128 4x64': instructions by width in bits."""
    counts = sorted(((width, n) for (kind, width), n in one.accesses.items() if kind == word),
                    reverse=True)
    return " ".join(f"{n}x{width}" for width, n in counts) or "-"


def both(values: list[str]) -> str:
    return values[0] if len(set(values)) == 1 else " / ".join(values)


def compiled_rows(arch: str, compiled: list[Compiled]) -> list[str]:
    lines = []
    for row in ROWS:
        ones = [of_row(row, name, compiled) for name in row.instantiations]
        every = [one for one in compiled if re.match(rf"{row.kernel}\b", one.name)]
        shared = [one.shared + row.dynamic_shared for one in ones]
        cells = [
            row.kernel.removesuffix("_kernel"), arch.removeprefix("sm_"),
            both([str(one.registers) for one in ones]),
            f"{max(one.registers for one in every)} of {len(every)}",
            str(max(one.stack for one in every)), str(max(one.spills for one in every)),
            both([str(size) for size in shared]),
            both([f"{occupancy(ARCHITECTURES[arch], one.registers, size, row.threads)} %"
                  for one, size in zip(ones, shared, strict=True)]),
            both([access_counts(one, "LDG") for one in ones]),
            both([access_counts(one, "STG") for one in ones])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def compiled_table(by_arch: dict[str, list[str]], release: str) -> str:
    head = ["kernel", "sm", "registers", "most registers", "stack", "spills", "shared bytes",
            "occupancy", "loads", "stores"]
    lines = [f"nvcc {release}, float32 / bfloat16 where they differ:", "",
             "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for index in range(len(ROWS)):
        lines += [rows[index] for rows in by_arch.values()]
    return "\n".join(lines)


def bytes_table() -> str:
    shape = ", ".join(f"{letter} {size}" for letter, size in BENCH_SHAPE.items())
    lines = [f"Megabytes at {shape}; float32 / bfloat16:", "",
             "| kernel | grid x block | least bytes | MB | asked for | times the least |",
             "|---|---|---|---|---|---|"]
    for row in ROWS:
        least = [bytes_of(row.least, size) for size in row.element_sizes]
        asked = [bytes_of(row.asked, size) for size in row.element_sizes]
        cells = [row.kernel.removesuffix("_kernel"), row.mapping, f"`{row.least}`",
                 both([f"{value / 1e6:.3g}" for value in least]),
                 "the same" if row.asked == row.least else f"`{row.asked}`",
                 both([f"{a / b:.2f}" for a, b in zip(asked, least, strict=True)])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def faults(arch: str, compiled: list[Compiled]) -> list[str]:
    """What an instantiation must not do."""
    found = []
    for one in compiled:
        if one.spills or one.stack or any(kind in ("LDL", "STL") for kind, _ in one.accesses):
            found.append(f"{arch} {one.name}: {one.stack} bytes of stack, {one.spills} of spills")
    known = {row.kernel for row in ROWS}
    for name in sorted({re.match(r"\w+", one.name)[0] for one in compiled} - known):
        found.append(f"{arch} {name}: no row in scripts/kernel_rows.py")
    for row in ROWS:
        for name in row.instantiations if row.moves_rows else ():
            one = of_row(row, name, compiled)
            found += [f"{arch} {name}: no 128-bit {word}" for word in ("LDG", "STG")
                      if not one.accesses.get((word, 128))]
    return found


# --- README.md ------------------------------------------------------------------------------


def between_markers(text: str, name: str) -> re.Match[str]:
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    if not (match := re.search(pattern, text, re.DOTALL)):
        sys.exit(f"kernel_report: {README} lacks the lines <!-- {name} -->, <!-- end of {name} -->")
    return match


def write_tables(tables: dict[str, str]) -> None:
    text = README.read_text()
    for name, table in tables.items():
        match = between_markers(text, name)
        text = text[:match.start()] + match[1] + table + "\n" + match[2] + text[match.end():]
    README.write_text(text)


def stale_lines(tables: dict[str, str], archs: list[str], release: str) -> list[str]:
    """Where README.md differs from tables of these architectures that it can have from here."""
    text = README.read_text()
    found = []
    for name, table in tables.items():
        there = between_markers(text, name)[0]
        if name == "kernel report" and "| kernel |" in there and f"nvcc {release}," not in there:
            print(f"kernel_report: the table is of another nvcc than {release}: not compared")
            continue
        others = re.compile(rf"\| \w+ \| (?!({'|'.join(arch[3:] for arch in archs)}) )\d+ \|")
        lines = [line for line in there.splitlines()
                 if not line.startswith("<!--") and not others.match(line)]
        found += [f"README.md, run kernel_report.py --write: {sign} {line}"
                  for sign, these, those in (("lacks", table.splitlines(), lines),
                                             ("has", lines, table.splitlines()))
                  for line in these if line not in those]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--arch", action="append", choices=ARCHITECTURES, help="default: all")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--find-tools", action="store_true", help="say whether it can run here")
    parser.add_argument("--tools", type=Path, action="append", default=[],
                        help="a folder with nvcc, cuobjdump or nvdisasm")
    parser.add_argument("--cache", type=Path, default=ROOT / "build/kernel_report")
    arguments = parser.parse_args()
    if arguments.write and arguments.arch:
        parser.error("--write is for all architectures")

    homes = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    folders = arguments.tools + [home / "bin" for home in [*homes, Path("/usr/local/cuda")]]
    folders.append(ROOT / ".deps/nvidia/cu13/bin")
    tools = {name: find_tool(name, folders) for name in ("nvcc", "cuobjdump", "nvdisasm")}
    if missing := [name for name, tool in tools.items() if tool is None]:
        print(f"kernel_report: skipped, there is no {', '.join(missing)}: nvcc comes with a CUDA "
              "toolkit, the others with scripts/setup.sh --cuda too")
        return CANNOT_RUN
    if arguments.find_tools:
        return 0

    by_arch, found = {}, []
    for arch in arguments.arch or ARCHITECTURES:
        compiled = compile_kernels(arch, tools, arguments.cache)
        by_arch[arch] = compiled_rows(arch, compiled)
        found += faults(arch, compiled)
    release = nvcc_release(tools)
    tables = {"kernel bytes": bytes_table(), "kernel report": compiled_table(by_arch, release)}
    if arguments.write:
        write_tables(tables)
    elif arguments.check:
        found += stale_lines(tables, list(by_arch), release)
    else:
        print("\n\n".join(tables.values()))
    for fault in found:
        print(f"kernel_report: {fault}")
    if arguments.check and not found:
        print(f"kernel_report: {', '.join(by_arch)}: no spill, no stack, 128-bit accesses")
    return FOUND_NOTHING if found else 0


if __name__ == "__main__":
    sys.exit(main())
