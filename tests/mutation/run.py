"""Runs each mutant's tests in a forked copy of a pytest that has collected them already.

A change inside a function replaces the code of the living function; a change outside of one
(a constant, a default) takes a fresh pytest that imports the changed module instead.
"""

from __future__ import annotations

import ast
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.mutants import Mutant

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Target:
    """Attributes:
    modules: the folder whose modules are changed, from ``root``.
    tests: patterns of the files of tests that may notice it, from ``root``.
    equivalent: the list of mutants that no test can notice.
    """

    root: Path
    modules: str
    tests: tuple[str, ...]
    equivalent: Path


THE_PARTS_PATH = Target(
    REPOSITORY,
    "edgeinspect/line",
    (
        *("tests/line/test_*.py", "tests/challenge/test_challenge_lock.py"),
        "tests/sim/test_sim_world.py",
    ),
    Path(__file__).with_name("equivalent.txt"),
)
LONGEST_TEST_S = 1.5
"""Slower ones are left out: a mutant that only they notice deserves a test of its own.

As every limit here it is one of processor time, so that a busy machine changes no result.
"""


class Outcome(Enum):
    KILLED = "killed"
    TIMEOUT = "killed by the clock"
    SURVIVED = "survived"
    NOT_REACHED = "not reached"


Note = Callable[[Mutant, Outcome], None]


class _Runner:
    """A pytest plugin: takes over when the tests have been collected."""

    def __init__(self, target: Target, mutants: Sequence[Mutant], *, jobs: int, note: Note) -> None:
        self._target = target
        self._mutants = mutants
        self._jobs = jobs
        self._note = note
        self._running: dict[int, tuple[Mutant, int]] = {}
        self._noticed = Counter[tuple[str, str]]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        self._reached, self._seconds = self._reached_by()
        gc.freeze()  # what is never looked at is never copied into a child
        waiting = list(self._mutants)
        while waiting or self._running:
            while waiting and len(self._running) < self._jobs:
                self._begin(waiting.pop(0))
            self._end_one()
        return True

    def _begin(self, mutant: Mutant) -> None:
        chosen = self._tests_of(mutant)
        if not chosen:
            self._note(mutant, Outcome.NOT_REACHED)
            return
        printed, report_progress = os.pipe()

        def work() -> None:
            self._try(mutant, chosen, report_progress)

        child = _forked(work)
        os.close(report_progress)
        self._running[child] = mutant, printed

    def _end_one(self) -> None:
        """Wait for one of the children."""
        if not self._running:
            return
        child, status = os.wait()
        mutant, printed = self._running.pop(child)
        with os.fdopen(printed) as noticed_by:
            name = noticed_by.read()
        if name:
            self._noticed[mutant.function, name] += 1
        late = os.waitstatus_to_exitcode(status) == -signal.SIGPROF
        survived = not late and status == 0
        outcome = Outcome.SURVIVED if survived else Outcome.KILLED
        self._note(mutant, Outcome.TIMEOUT if late else outcome)

    def _reached_by(self) -> tuple[dict[str, dict[int, set[str]]], dict[str, float]]:
        """File to line to the tests that run it, and how long each takes; tried in a child."""
        with tempfile.NamedTemporaryFile("r+") as printed:

            def look() -> None:
                cover = coverage.Coverage(
                    data_file=None,
                    config_file=False,
                    include=[f"{self._target.root / self._target.modules}/*"],
                )
                cover.start()
                seconds = {}
                for name, item in self._items.items():
                    cover.switch_context(name)
                    began_s = time.process_time()
                    reports = runtestprotocol(item, log=False)
                    if any(report.failed for report in reports):
                        Path(printed.name).write_text("\n".join(r.longreprtext for r in reports))
                        os._exit(1)
                    seconds[name] = time.process_time() - began_s
                cover.stop()
                data = cover.get_data()
                lines = {
                    file: {line: sorted(names) for line, names in by_line.items()}
                    for file in data.measured_files()
                    for by_line in (data.contexts_by_lineno(file),)
                }
                Path(printed.name).write_text(json.dumps([lines, seconds]))

            status = os.waitpid(_forked(look), 0)[1]
            found = Path(printed.name).read_text()
            if status != 0:
                raise pytest.UsageError(f"without any change: {found}")
            lines, seconds = json.loads(found)
        reached = {
            file: {int(line): {name for name in names if name} for line, names in by.items()}
            for file, by in lines.items()
        }
        return reached, seconds

    def _tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that run the changed line, the most promising first.

        Those that noticed other changes of its function, then those of the file named after the
        module, then the quick ones.
        """
        by_line = self._reached.get(str(mutant.file), {})
        names = by_line.get(mutant.line, set())
        if not mutant.in_body:
            names = set().union(*by_line.values()) if by_line else set()
        quick = [name for name in names if self._seconds[name] <= LONGEST_TEST_S]
        own = f"test_line_{mutant.file.stem}.py"

        def promise(name: str) -> tuple[int, bool, float]:
            return -self._noticed[mutant.function, name], own not in name, self._seconds[name]

        return sorted(quick, key=promise)

    def _try(self, mutant: Mutant, chosen: list[str], report_progress: int) -> None:
        if not mutant.in_body or not _patch(mutant):
            limit_s = 60 + int(5 * sum(self._seconds[name] for name in chosen))
            resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
            os._exit(_in_a_fresh_process(mutant, chosen, self._target.root))
        for name in chosen:
            signal.setitimer(signal.ITIMER_PROF, 2 + 5 * self._seconds[name])
            if not _passes(self._items[name]):
                os.write(report_progress, name.encode())
                os._exit(1)
        os._exit(0)


def try_all(target: Target, mutants: Sequence[Mutant], *, jobs: int, note: Note) -> None:
    """Try every mutant and call ``note`` with each and what became of it."""
    os.environ["CI"] = "true"  # hypothesis then draws the same examples each time
    runner = _Runner(target, mutants, jobs=jobs, note=note)
    files = sorted({str(file) for pattern in target.tests for file in target.root.glob(pattern)})
    options = ["-q", "-s", "-p", "no:cacheprovider", "--no-cov", "-m", "not slow"]
    code = pytest.main([*options, "--rootdir", str(target.root), *files], plugins=[runner])
    if code not in (0, 5):
        sys.exit(f"pytest ended with {code}")


def _forked(work: Any) -> int:
    child = os.fork()
    if child:
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        work()
    except BaseException:  # noqa: BLE001  whatever it is, the change was noticed
        os._exit(1)
    os._exit(0)


def _passes(item: pytest.Item) -> bool:
    return all(report.passed or report.skipped for report in runtestprotocol(item, log=False))


def _patch(mutant: Mutant) -> bool:
    """Give the living function the changed code. False if it cannot be found."""
    function = _function(sys.modules[_module_name(mutant)], mutant.function)
    code = _code(compile(mutant.changed(), str(mutant.file), "exec"), mutant.function)
    if function is None or code is None or code.co_freevars != function.__code__.co_freevars:
        return False
    function.__code__ = code
    return True


def _module_name(mutant: Mutant) -> str:
    """The tests have imported it, or none of them would run its lines."""
    return next(
        name
        for name, module in sys.modules.items()
        if getattr(module, "__file__", None) == str(mutant.file)
    )


def _function(module: ModuleType, name: str) -> FunctionType | None:
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, property):
            found = found.fget
        found = getattr(found, "__func__", found)
        found = getattr(found, "__wrapped__", found)
    return found if isinstance(found, FunctionType) else None


def _code(code: CodeType, name: str) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == name:
                return constant
            if name.startswith(f"{constant.co_qualname}."):
                return _code(constant, name)
    return None


_FRESH = """
import importlib.abc, importlib.util, sys
name, source, tests = sys.argv[1], sys.argv[2], sys.argv[3:]
class Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    def find_spec(self, wanted, path, target=None):
        return importlib.util.spec_from_loader(wanted, self) if wanted == name else None
    def get_filename(self, wanted): return source
    def get_data(self, path): return open(path, "rb").read()
    def path_stats(self, path): raise OSError
    def set_data(self, path, data): pass
sys.meta_path.insert(0, Changed())
import pytest
sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-cov", *tests]))
"""


def _in_a_fresh_process(mutant: Mutant, chosen: list[str], root: Path) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as source:
        source.write(ast.unparse(mutant.changed()))
        source.flush()
        command = (sys.executable, "-c", _FRESH, _module_name(mutant), source.name, *chosen)
        done = subprocess.run(command, cwd=root, check=False)
    return 0 if done.returncode == 0 else 1
