"""``make test-mutants``: whether the tests notice every change of ``line`` that matters.

python -m tests.mutation                      every mutant of every file
python -m tests.mutation core.py reject.py    of these files
python -m tests.mutation --jobs 1 --list FILE write the survivors to FILE too

Ends with 0 if every survivor is listed in tests/mutation/equivalent.txt, else with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.run import Outcome, try_all

REPOSITORY = Path(__file__).resolve().parents[2]
LINE = REPOSITORY / "edgeinspect" / "line"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="names in edgeinspect/line; all if left out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", type=Path, help="write the survivors there, one a line")
    chosen = parser.parse_args(arguments)
    files = [LINE / name for name in chosen.files] or sorted(LINE.glob("*.py"))
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    equivalent = read_equivalent(EQUIVALENT.read_text())
    began_s = time.monotonic()
    survivors: list[tuple[Mutant, Outcome]] = []
    counts = Counter[str]()

    def note(mutant: Mutant, outcome: Outcome) -> None:
        counts[outcome.value] += 1
        if outcome in (Outcome.SURVIVED, Outcome.NOT_REACHED):
            survivors.append((mutant, outcome))
            if mutant.name not in equivalent:
                _say(f"{outcome.value}: line {mutant.line}: {mutant.name}")
        if counts.total() % 100 == 0:
            _say(f"{counts.total()} of {len(mutants)}")

    try_all(mutants, jobs=chosen.jobs, note=note)
    names = {mutant.name for mutant, _ in survivors}
    unlisted = [(m, o) for m, o in survivors if m.name not in equivalent]
    tried = {mutant.name for mutant in mutants}
    stale = sorted(name for name in equivalent if name in tried and name not in names)
    gone = [] if chosen.files else sorted(equivalent.keys() - tried)
    lines = [f"{o.value}: line {m.line}: {m.name}" for m, o in unlisted]
    if chosen.list:
        chosen.list.write_text("".join(f"{line}\n" for line in lines))
    words = Counter(equivalent[m.name] for m, _ in survivors if m.name in equivalent)
    for name in stale:
        _say(f"listed as equivalent, but a test notices it: {name}")
    for name in gone:
        _say(f"listed as equivalent, but the code has gone: {name}")
    _say(
        f"{len(mutants)} mutants in {time.monotonic() - began_s:.0f} s: "
        + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        + f"; listed as equivalent: {sum(words.values())} ({dict(words)}); "
        f"not listed: {len(unlisted)}"
    )
    return 1 if unlisted or gone else 0


def _say(line: str) -> None:
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
