"""The kernels' test program with mutants in it: compiled once a flavour, run once a mutant.

Flags, test objects and the link line are those of cuda_kernels_test_{plain,asan,tsan} of a build.
"""

import hashlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from mutant_sites import Mutant, mutated_files, with_mutants

TARGET = "cuda_kernels_test"
# Processor time against that of the plain program, and what starting LibTorch takes.
SLOWER, START_SECONDS = {"plain": 1, "asan": 10, "tsan": 60}, 10
QUICK_SECONDS = 0.5
# Ends of a run that say nothing about a mutant: it was killed from outside, or did not start.
NO_VERDICT = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 126, 127)

# Which mutant is awake, and which ones a test comes by. No sanitizer looks into it.
RUNTIME = r"""
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

namespace {

bool reached[NUM_MUTANTS + 1];

int number_in(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? -1 : std::atoi(text);
}

// A line a test: name, seconds of processor time, the mutants that it came by.
class Notes : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override {
    std::fill(std::begin(reached), std::end(reached), false);
    start_ = std::clock();
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    std::ofstream file(std::getenv("MOESAIC_MUTANTS_REACHED"), std::ios::app);
    file << test.test_suite_name() << "." << test.name() << " "
         << static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC;
    for (int id = 0; id < NUM_MUTANTS; ++id) {
      if (reached[id]) file << " " << id;
    }
    file << "\n";
  }
  std::clock_t start_ = 0;
};

[[maybe_unused]] const bool takes_notes = [] {
  if (std::getenv("MOESAIC_MUTANTS_REACHED") == nullptr) return false;
  testing::UnitTest::GetInstance()->listeners().Append(new Notes);
  return true;
}();

}  // namespace

extern "C" bool moesaic_mutant(int id) {
  static const int awake = number_in("MOESAIC_MUTANT");
  reached[id] = true;
  return id == awake;
}
"""


class CannotRun(Exception):
    """Why there is no emulation here."""


class Outcome(NamedTuple):
    killed: bool
    words: str


def dependents(root: Path, names: list[str] | None) -> list[str]:
    """The kernel files that a change of these files reaches; all of them for None."""
    folder = root / "kernels/cuda"
    includes = {file.name: set(re.findall(r'#include "kernels/cuda/([\w.]+)"', file.read_text()))
                for file in [*folder.glob("*.cu"), *folder.glob("*.h")]}

    def reaches(file: str, seen: set[str]) -> bool:
        return file in names or any(reaches(other, seen | {file})
                                    for other in includes.get(file, set()) - seen - {file})

    return sorted(file for file in includes
                  if file.endswith(".cu") and (names is None or reaches(file, set())))


class Program:
    """Builds what is not there yet. `kernels`: the .cu files that shall hold mutants; `tests`: a
    filter of GoogleTest for those that may notice them."""

    def __init__(self, root: Path, build: Path, work: Path, mutants: list[Mutant],
                 kernels: list[str], flavours: list[str], is_built: bool,
                 tests: str = "*"):
        self.root, self.build, self.work = root, build.resolve(), work.resolve()
        self.ids = {mutant: index for index, mutant in enumerate(mutants)}
        self.commands = self._compile_commands()
        self._write_sources()
        if not is_built:
            self._build(kernels, flavours)
        self.kernels = kernels
        self.executables: dict[str, Path] = {}
        self.lock = Lock()
        self.tests_named = tests
        self.tests = self._notes()

    def _build(self, kernels: list[str], flavours: list[str]) -> None:
        targets = [f"{TARGET}_tests", "moesaic_kernels_everywhere"]
        targets += [f"moesaic_cuda_emulation_{flavour}" for flavour in flavours]
        if not set(kernels) >= {name for _, name in self.commands}:
            targets += [f"{TARGET}_{flavour}" for flavour in flavours]  # the other kernels
        self._call(["cmake", "--build", str(self.build), "--target", *targets])

    # --- compile -----------------------------------------------------------------------

    def _call(self, command: list[str], **options) -> str:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              **options)
        if done.returncode != 0:
            raise SystemExit(f"mutate_kernels: {' '.join(command)}\n{done.stdout[-4000:]}")
        return done.stdout

    def _compile_commands(self) -> dict[tuple[str, str], dict[str, str]]:
        file = self.build / "compile_commands.json"
        if not file.exists():
            raise CannotRun(f"{self.build} is not configured: cmake --preset release")
        commands = {}
        for entry in json.loads(file.read_text()):
            words = shlex.split(entry["command"])
            output = words[words.index("-o") + 1]
            if match := re.search(rf"/{TARGET}_(plain|asan|tsan)\.dir/.*kernels/cuda/(\w+\.cu)\.o$",
                                  output):
                commands[match[1], match[2]] = {"command": entry["command"], "output": output}
        if not commands:
            raise CannotRun(f"{self.build} has no {TARGET}: no headers of CUDA, or the emulation "
                            "does not know this machine")
        return commands

    def _write_sources(self) -> None:
        folder = self.work / "mutated/kernels/cuda"
        folder.mkdir(parents=True, exist_ok=True)
        for file in mutated_files(self.root):
            first = min((self.ids[mutant] for mutant in self.ids if mutant.file == file), default=0)
            (folder / file.name).write_text(with_mutants(file, first))
        (self.work / "runtime.cpp").write_text(
            RUNTIME.replace("NUM_MUTANTS", str(len(self.ids))))
        texts = b"".join(file.read_bytes() for file in sorted(folder.glob("*.h")))
        self.headers = texts + b"".join(file.read_bytes() for file in
                                        sorted(self.root.glob("kernels/cuda/emulation/*.h")))

    def _compile(self, flavour: str, name: str) -> Path:
        source = self.work / "mutated/kernels/cuda" / name
        words = shlex.split(self.commands[flavour, name]["command"])
        del words[words.index("-o"):words.index("-o") + 2]
        del words[words.index("-c"):words.index("-c") + 2]
        first_include = next(at for at, word in enumerate(words) if word.startswith("-I"))
        words.insert(first_include, f"-I{self.work / 'mutated'}")
        words += ["-O1", "-w"]
        key = hashlib.sha256(self.headers + source.read_bytes() +
                             " ".join(words).encode()).hexdigest()[:16]
        compiled = self.work / f"{source.stem}.{flavour}.{key}.o"
        if not compiled.exists():
            partial = compiled.with_suffix(".partial")
            self._call([*words, "-c", str(source), "-o", str(partial)], cwd=self.build)
            partial.rename(compiled)
        return compiled

    def executable(self, flavour: str) -> Path:
        """Compiled and linked when it is first asked for, and then run with no mutant awake: what
        fails by itself would seem to notice every mutant."""
        with self.lock:
            if flavour not in self.executables:
                self.executables[flavour] = self._link(flavour, [
                    (self.commands[flavour, name]["output"], self._compile(flavour, name))
                    for name in self.kernels])
                self._call([str(self.executables[flavour]), "--gtest_brief=1",
                            f"--gtest_filter={self.tests_named}"], env=self._environment())
            return self.executables[flavour]

    def _link(self, flavour: str, replaced: list[tuple[str, Path]]) -> Path:
        runtime = self.work / "runtime.o"
        self._call(["g++", "-std=c++20", "-O2", "-c", str(self.work / "runtime.cpp"), "-o",
                    str(runtime)])
        line = self._call(["ninja", "-C", str(self.build), "-t", "commands",
                           f"{TARGET}_{flavour}"]).splitlines()[-1]
        words = shlex.split(line.removeprefix(": && ").removesuffix(" && :"))
        executable = self.work / f"mutants_{flavour}"
        words[words.index("-o") + 1] = str(executable)
        originals = {original for original, _ in replaced}
        words = [word for word in words if word not in originals]
        # First: of inline functions, which others have too, the linker takes the first it sees.
        at = next(at for at, word in enumerate(words) if word.endswith(".o"))
        words[at:at] = [str(runtime), *(str(compiled) for _, compiled in replaced)]
        self._call(words, cwd=self.build)
        return executable

    # --- run ---------------------------------------------------------------------------

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("MOESAIC_CUDA_EMULATION_ORDER", "MOESAIC_MUTANT"))}
        return kept | {"OMP_NUM_THREADS": "1"} | more

    def _notes(self) -> list[tuple[str, float, set[int]]]:
        """Each test of the original, its processor time, and the mutants it comes by."""
        executable = self.executable("plain")
        content = executable.read_bytes() + self.tests_named.encode()
        digest = hashlib.sha256(content).hexdigest()[:16]
        notes = self.work / f"reached.{digest}.txt"
        if not notes.exists():
            partial = notes.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            self._call([str(executable), "--gtest_brief=1", f"--gtest_filter={self.tests_named}"],
                       env=self._environment(MOESAIC_MUTANTS_REACHED=str(partial)))
            partial.rename(notes)
        tests = []
        for line in notes.read_text().splitlines():
            name, seconds, *ids = line.split()
            tests.append((name, float(seconds), {int(word) for word in ids}))
        return tests

    def reaching(self, mutant: Mutant) -> list[tuple[str, float]]:
        """The tests that come by a mutant, and their processor time."""
        return [(name, seconds) for name, seconds, ids in self.tests if self.ids[mutant] in ids]

    def run(self, flavour: str, mutant: Mutant) -> Outcome:
        """Quick tests first: most mutants need no more than those."""
        tests = sorted(self.reaching(mutant), key=lambda test: test[1])
        quick, seconds = 1, tests[0][1]
        while quick < len(tests) and seconds + tests[quick][1] < QUICK_SECONDS:
            seconds += tests[quick][1]
            quick += 1
        outcome = self._run_tests(flavour, mutant, tests[:quick])
        if not outcome.killed and quick < len(tests):
            outcome = self._run_tests(flavour, mutant, tests[quick:])
        return outcome

    def _run_tests(self, flavour: str, mutant: Mutant, tests: list[tuple[str, float]]) -> Outcome:
        limit = int(START_SECONDS + 10 * SLOWER[flavour] * sum(seconds for _, seconds in tests))

        def set_limits() -> None:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        done = subprocess.run(
            [self.executable(flavour), "--gtest_brief=1", "--gtest_fail_fast",
             "--gtest_filter=" + ":".join(name for name, _ in tests)],
            env=self._environment(MOESAIC_MUTANT=str(self.ids[mutant])), preexec_fn=set_limits,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode in NO_VERDICT:
            raise SystemExit(f"mutate_kernels: {flavour}: no verdict on mutant {self.ids[mutant]} "
                             f"of {mutant.file.name}: the tests ended with {done.returncode}")
        if done.returncode == 0:
            return Outcome(False, "")
        return Outcome(True, reason(done.returncode, done.stdout.decode(errors="replace")))


def reason(code: int, output: str) -> str:
    """What noticed it, in a few words."""
    if code == -signal.SIGXCPU:
        return "does not end"
    words = []
    if test := re.search(r"^\[  FAILED  \] (\S+?),? ", output, re.MULTILINE):
        words.append(test[1])
    if order := re.search(r"thread order (\S+)", output):
        words.append(order[1])
    if fault := re.search(r"kernel \w+, block \(.*?\), thread \(.*?\): (.*)", output):
        words.append(fault[1].split('" thrown')[0])
    elif summary := re.search(r"^SUMMARY: (\w+: [\w-]+(?: [\w-]+)*)", output, re.MULTILINE):
        words.append(summary[1].split(" /")[0])
    elif undefined := re.search(r"runtime error: (.*)", output):
        words.append(undefined[1])
    elif code < 0:
        words.append(signal.Signals(-code).name)
    return ", ".join(word[:120] for word in words) or f"exit {code}"
