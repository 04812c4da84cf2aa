"""Where mutate_kernels.py can change a kernel, and the source that holds all changes at once.

Not a parser of C++: it relies on clang-format, which sets blanks around every comparison and none
around the angles of a template.

  __syncthreads(), __syncwarp()   removed
  __shfl_up_sync                  __shfl_down_sync, and the reverse; __reduce_max_sync, _min_sync
  __shfl_xor_sync, __shfl_sync    another lane: distance ^ 1
  *_sync(mask, ...)               without the upper lane
  a < b                           a <= b, a < b - 1, a >= b; likewise <=, >, >=
  a == b                          a != b, and the reverse
  min(a, b)                       min(a, b - 1), min(a, b + 1)
  x + 1, x - 1                    x
What is fixed at compile time (constexpr, static_assert) is left alone.
"""

import re
from pathlib import Path
from typing import NamedTuple

SPELLINGS = ("launch.h", "launch_limits.h", "kernel_registry.h")
DECLARATION = 'extern "C" bool moesaic_mutant(int); '
FLIPPED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
OTHER_BOUND = {"<": "- 1", "<=": "+ 1", ">": "+ 1", ">=": "- 1"}
SWAPPED = {"__shfl_up_sync": "__shfl_down_sync", "__shfl_down_sync": "__shfl_up_sync",
           "__reduce_max_sync": "__reduce_min_sync", "__reduce_min_sync": "__reduce_max_sync"}
COMPARISON = re.compile(r"(?<=\s)(<=|>=|==|!=|<|>)(?=\s)")
BARRIER = re.compile(r"\b(__sync\w+|__named_barrier\w*)\(")
WARP_OPERATION = re.compile(r"\b(__(?:shfl|reduce|match|ballot|any|all)\w*_sync)\(")
MINIMUM = re.compile(r"(?<![\w:.])min\(")
ONE = re.compile(r"(?<=[\w)\]]\s)[+-] (1u?)(?![\w.'])")
NOT_MASKED = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\''
                        r"|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.DOTALL | re.MULTILINE)
FIXED = re.compile(r"\b(constexpr|static_assert|using|enum|template)\b")


class Mutant(NamedTuple):
    file: Path
    number: int  # in its file, from 1
    line: int
    before: str
    after: str
    text: str  # the line of source
    occurrence: int  # among equal changes of equal lines of the file, from 1
    is_barrier: bool


class Site(NamedTuple):
    """A stretch of source and what may stand there instead: (before, after, replacement)."""
    begin: int
    end: int
    changes: list[tuple[str, str, str]]
    is_barrier: bool = False


class Source:
    """A file without its comments, strings and directives, and where its brackets meet."""

    def __init__(self, file: Path):
        self.file = file
        self.text = file.read_text()
        self.code = NOT_MASKED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), self.text)
        self.match: dict[int, int] = {}
        open_at: list[int] = []
        for at, letter in enumerate(self.code):
            if letter in "([{" or (letter == "<" and self._is_angle(at)):
                open_at.append(at)
            elif letter in ")]}" or (letter == ">" and self._is_angle(at)):
                begin = open_at.pop()
                if self.code[begin] + letter not in ("()", "[]", "{}", "<>"):
                    raise ValueError(f"{file}: brackets at {self.line_of(at)}")
                self.match[begin], self.match[at] = at, begin

    def _is_angle(self, at: int) -> bool:
        before, after = self.code[at - 1], self.code[at + 1]
        if self.code[at] == "<":
            is_template = self.code[:at].endswith("template ")
            return is_template or (not before.isspace() and before != "<" and
                                   not after.isspace() and after not in "<=")
        before = self.code[:at].rstrip(">")[-1]
        return not before.isspace() and before != "-" and after != "="

    def line_of(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def flat(self, begin: int, end: int) -> str:
        return " ".join(self.text[begin:end].split())

    def arguments(self, opening: int) -> list[tuple[int, int]]:
        """The stretches between the commas of a call."""
        parts, begin, at = [], opening + 1, opening + 1
        while at < self.match[opening]:
            if self.code[at] == ",":
                parts.append((begin, at))
                begin = at + 1
            at = self.match[at] + 1 if at in self.match else at + 1
        return [*parts, (begin, self.match[opening])]

    def _ends_operand(self, at: int) -> bool:
        code, letter = self.code, self.code[at]
        if letter in ",;?{}()[]":
            return True
        if letter == ":":
            return ":" not in (code[at - 1], code[at + 1])
        if letter == "=":
            return True
        if letter in "&|":
            return code[at + 1] in " \n&|" and code[at - 1] in " \n&|"
        return letter in "<>^" and code[at - 1].isspace() and code[at + 1].isspace()

    def _is_block(self, opening: int) -> bool:
        """Whether a bracket opens statements, rather than the parts of a value."""
        return self.code[opening] == "{" and not re.match(r"[\w>]", self.code[opening - 1])

    def operand_before(self, at: int) -> int:
        while at > 0:
            at -= 1
            if self.match.get(at, at) < at and not self._is_block(self.match[at]):
                at = self.match[at]
            elif self._ends_operand(at) or at in self.match:
                return self._skip_return(at + 1)
        return 0

    def _skip_return(self, at: int) -> int:
        begin = at + len(self.code[at:]) - len(self.code[at:].lstrip())
        if word := re.match(r"(return|else)\s+", self.code[begin:]):
            begin += word.end()
        return begin

    def operand_after(self, at: int) -> int:
        while at < len(self.code):
            if self.match.get(at, at) > at:
                at = self.match[at]
            elif self._ends_operand(at):
                break
            at += 1
        return at - len(self.code[:at]) + len(self.code[:at].rstrip())

    def is_fixed(self, at: int) -> bool:
        """Whether the statement, or a function around it, is evaluated by the compiler."""
        begin = max(self.code.rfind(letter, 0, at) for letter in ";{}") + 1
        if FIXED.search(self.code[begin:at].replace("if constexpr", "constexpr")):
            return True
        outer = [opening for opening, closing in self.match.items()
                 if self.code[opening] == "{" and opening < at < closing]
        for opening in outer:
            begin = max(self.code.rfind(letter, 0, opening) for letter in ";{}") + 1
            header = self.code[begin:opening].replace("if constexpr", "")
            if re.search(r"\bconstexpr\b", header):
                return True
        return False


def comparison_sites(source: Source) -> list[Site]:
    sites = []
    for match in COMPARISON.finditer(source.code):
        if match.start() in source.match or source.is_fixed(match.start()):
            continue
        word = match[1]
        begin, end = source.operand_before(match.start()), source.operand_after(match.end())
        left = source.flat(begin, match.start())
        right = source.flat(match.end(), end)
        alternatives = [f"{left} {FLIPPED[word]} {right}"]
        if word in BOUNDARY:
            alternatives = [f"{left} {BOUNDARY[word]} {right}",
                            f"{left} {word} {right} {OTHER_BOUND[word]}", *alternatives]
        sites.append(Site(begin, end, [(f"{left} {word} {right}", after, after)
                                       for after in alternatives]))
    return sites


def barrier_sites(source: Source) -> list[Site]:
    sites = []
    for match in BARRIER.finditer(source.code):
        end = source.match[match.end() - 1] + 1
        if not re.match(r"__sync(threads|warp)\(", match[0]):
            raise ValueError(f"{source.file}:{source.line_of(match.start())}: mutant_sites.py does "
                             f"not know how to remove {match[1]}")
        before = source.flat(match.start(), end)
        sites.append(Site(match.start(), end, [(before, "nothing", "void()")], is_barrier=True))
    return sites


def warp_sites(source: Source) -> list[Site]:
    sites = []
    for match in WARP_OPERATION.finditer(source.code):
        name, opening = match[1], match.end() - 1
        end = source.match[opening] + 1
        arguments = [source.flat(*part) for part in source.arguments(opening)]
        before = source.flat(match.start(), end)
        changes = []

        def change(after: str, shown_before: str, shown_after: str) -> None:
            changes.append((shown_before, shown_after, after))

        rest = ", ".join(arguments[1:])
        change(f"{name}(({arguments[0]}) >> 1, {rest})", before,
               f"{name}({arguments[0]} >> 1, {rest})")
        if name in SWAPPED:
            change(f"{SWAPPED[name]}({', '.join(arguments)})", name, SWAPPED[name])
        if name in ("__shfl_xor_sync", "__shfl_sync"):
            other = [*arguments[:2], f"({arguments[2]}) ^ 1", *arguments[3:]]
            change(f"{name}({', '.join(other)})", before, f"{name}({', '.join(other)})")
        sites.append(Site(match.start(), end, changes))
    return sites


def minimum_sites(source: Source) -> list[Site]:
    sites = []
    for match in MINIMUM.finditer(source.code):
        if source.is_fixed(match.start()):
            continue
        opening = match.end() - 1
        first, second = (source.flat(*part) for part in source.arguments(opening))
        after = [f"min({first}, {second} {shift})" for shift in ("- 1", "+ 1")]
        sites.append(Site(match.start(), source.match[opening] + 1,
                          [(f"min({first}, {second})", words, words) for words in after]))
    return sites


def one_sites(source: Source) -> list[Site]:
    sites = []
    for match in ONE.finditer(source.code):
        if source.is_fixed(match.start()):
            continue
        begin = source.operand_before(match.start())
        left = source.flat(begin, match.start())
        zero = match[1].replace("1", "0")
        sites.append(Site(match.start(1), match.end(1),
                          [(f"{left} {match[0]}", left, zero)]))
    return sites


def find_sites(source: Source) -> list[Site]:
    sites = (barrier_sites(source) + warp_sites(source) + comparison_sites(source) +
             minimum_sites(source) + one_sites(source))
    return sorted(sites, key=lambda site: (site.begin, -site.end))


def mutated_files(root: Path) -> list[Path]:
    """The kernels and what they include from kernels/cuda, but for the spelling of a launch."""
    folder = root / "kernels/cuda"
    found = set(folder.glob("*.cu"))
    waiting = list(found)
    while waiting:
        for name in re.findall(r'#include "kernels/cuda/([\w.]+)"', waiting.pop().read_text()):
            if (file := folder / name) not in found and name not in SPELLINGS:
                found.add(file)
                waiting.append(file)
    return sorted(found)


def find_mutants(file: Path) -> list[Mutant]:
    source = Source(file)
    lines = source.text.splitlines()
    mutants: list[Mutant] = []
    seen: dict[tuple[str, str, str], int] = {}
    for site in find_sites(source):
        line = source.line_of(site.begin)
        text = lines[line - 1].strip()
        for before, after, _ in site.changes:
            key = text, before, after
            seen[key] = seen.get(key, 0) + 1
            mutants.append(Mutant(file, len(mutants) + 1, line, before, after, text, seen[key],
                                  site.is_barrier))
    return mutants


def with_mutants(file: Path, first_id: int) -> str:
    """The file with all its mutants in it, the first of them number first_id; lines stay."""
    source = Source(file)
    sites = find_sites(source)
    ids, next_id = [], first_id
    for site in sites:
        ids.append(next_id)
        next_id += len(site.changes)

    def render(begin: int, end: int, index: int) -> tuple[str, int]:
        """The text of a stretch and the first site behind it; `index` is the first in it."""
        parts = []
        while index < len(sites) and sites[index].begin < end:
            site = sites[index]
            if site.end > end:
                raise ValueError(f"{file}:{source.line_of(site.begin)}: sites overlap")
            parts.append(source.text[begin:site.begin])
            inner, behind = render(site.begin, site.end, index + 1)
            choice = "".join(f"moesaic_mutant({ids[index] + i}) ? ({replacement}) : "
                             for i, (_, _, replacement) in enumerate(site.changes))
            parts.append(f"({choice}({inner}))")
            begin, index = site.end, behind
        return "".join(parts) + source.text[begin:end], index

    return DECLARATION + render(0, len(source.text), 0)[0]
