"""The tuning screen on the terminal it is started in, over a station that is made of values."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeinspect.labels.label_store import Label, LabelKind
from edgeinspect.screens.tune import start_screen
from tests.helpers.tune_screen_samples import MemorySource, many_parts


class NotingSource(MemorySource):
    """Writes down what keys made it do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(many_parts(300), pictured=range(1, 301))
        self._file = folder / "done"

    def label(self, part_id: int, kind: LabelKind, defect_class: str) -> Label:
        with self._file.open("a") as file:
            file.write(f"{kind} {part_id}\n")
        return super().label(part_id, kind, defect_class)


def main(folder: Path, graphics: str) -> int:
    return start_screen.show(
        NotingSource(folder),
        draft_file=folder / "draft.json",
        follower=None,
        is_live=True,
        graphics=graphics,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
