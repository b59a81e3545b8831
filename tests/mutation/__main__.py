"""``make test-mutants``: whether the tests notice every change of ``line`` that matters.

python -m tests.mutation                      every mutant of every file
python -m tests.mutation core.py reject.py    of these files
python -m tests.mutation --jobs 1 --list FILE write the survivors to FILE too
python -m tests.mutation --again FILE         only those that an earlier --list wrote
python -m tests.mutation --listed             try those listed as equivalent too (hours)

Ends with 0 if every survivor is listed in tests/mutation/equivalent.txt and everything that is
listed there is still a mutant, else with 1. A listed one is tried with --listed only: nothing
ends its tests early.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.run import THE_PARTS_PATH, Outcome, Target, try_all

SURVIVING = (Outcome.SURVIVED, Outcome.NOT_REACHED)


def main(arguments: Sequence[str], target: Target = THE_PARTS_PATH) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="names of modules, as core.py; all if left out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", type=Path, help="write the survivors there, one a line")
    parser.add_argument("--again", type=Path, help="try only the mutants that --list wrote there")
    parser.add_argument("--listed", action="store_true", help="try those listed as equivalent too")
    chosen = parser.parse_args(arguments)
    folder = target.root / target.modules
    files = [folder / name for name in chosen.files] or sorted(folder.rglob("*.py"))
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    equivalent = read_equivalent(target.equivalent.read_text())
    began_s = time.monotonic()
    tried = [m for m in mutants if chosen.listed or m.name not in equivalent]
    if chosen.again:
        names_again = {line.split(": ", 2)[2] for line in chosen.again.read_text().splitlines()}
        tried = [m for m in tried if m.name in names_again]
    results: list[tuple[Mutant, Outcome]] = []

    def note(mutant: Mutant, outcome: Outcome) -> None:
        results.append((mutant, outcome))
        if outcome in SURVIVING and mutant.name not in equivalent:
            _print(line_of(mutant, outcome))
        if len(results) % 100 == 0:
            _print(f"{len(results)} of {len(tried)} after {time.monotonic() - began_s:.0f} s")

    try_all(target, tried, jobs=chosen.jobs, note=note)
    names = {mutant.name for mutant in mutants}
    chosen_names = {file.name for file in files}
    listed = {
        name: word
        for name, word in equivalent.items()
        if not chosen.files or name.split("::")[0] in chosen_names
    }
    verdict = judge(results, listed, names)
    _print(f"{len(mutants)} mutants in {time.monotonic() - began_s:.0f} s: {verdict.summary}")
    for complaint in verdict.complaints:
        _print(complaint)
    if chosen.list:
        chosen.list.write_text("".join(f"{line}\n" for line in verdict.survivors))
    return 1 if verdict.survivors or verdict.complaints else 0


@dataclass(frozen=True, slots=True)
class Result:
    """Attributes:
    survivors: the mutants that no test notices and that are not listed, one line each.
    complaints: what is listed and should not be.
    """

    survivors: tuple[str, ...]
    complaints: tuple[str, ...]
    summary: str


def judge(
    results: Sequence[tuple[Mutant, Outcome]], listed: Mapping[str, str], names: Set[str]
) -> Result:
    """Compare what was found with what is listed.

    Args:
        results: of the mutants that were tried.
        listed: those that no test can notice, and the word why.
        names: of all mutants there are.
    """
    counts = Counter(outcome.value for _, outcome in results)
    survivors = [line_of(m, o) for m, o in results if o in SURVIVING and m.name not in listed]
    gone = [f"listed as equivalent, but not a mutant: {n}" for n in sorted(listed.keys() - names)]
    noticed = {mutant.name for mutant, outcome in results if outcome not in SURVIVING}
    wrong = [
        f"listed as equivalent, but a test notices it: {n}" for n in sorted(noticed & listed.keys())
    ]
    words = Counter(word for name, word in listed.items() if name in names)
    summary = ", ".join(
        [
            *(f"{count} {outcome}" for outcome, count in sorted(counts.items())),
            f"{words.total()} listed as equivalent ({_reported(words)})",
            f"{len(survivors)} not listed and alive",
        ]
    )
    return Result(tuple(survivors), (*gone, *wrong), summary)


def line_of(mutant: Mutant, outcome: Outcome) -> str:
    return f"{outcome.value}: line {mutant.line}: {mutant.name}"


def _reported(words: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in words.most_common())


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def read_equivalent(text: str) -> dict[str, str]:
    """Mutants that no test can notice, and the word why; lines are ``WORD: NAME``."""
    entries = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, name = line.partition(": ")
            entries[name] = word
    return entries


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
