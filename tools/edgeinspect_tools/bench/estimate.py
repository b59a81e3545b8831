"""What a model would take on boards that are not here: from published figures, by its size alone.

An estimate from multiply-accumulates knows nothing of a model's memory traffic or of operators
that fall to the CPU; the range comes from two published networks that differ in just that.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTE = (
    "Estimates, not measurements: multiply-accumulates over the rates of MobileNet v1 and v2 on "
    "all cores. Measure on the board before you rely on them: edgeinspect-tools bench station."
)

_MACS = (569e6, 300e6)
"""MobileNet v1 and v2, 1.0, 224 x 224: table 3 of Sandler et al. 2018 and its MobileNet v1 row."""

_XNNPACK = "XNNPACK's README, INT8 end-to-end bench of Feb 8, 2022, all cores"


@dataclass(frozen=True, slots=True)
class Board:
    """A board with its published times.

    Attributes:
        name: the board's name.
        published_ms: times of int8 MobileNet v1 and v2.
        source: where these figures are from.
    """

    name: str
    published_ms: tuple[float, float]
    source: str

    def range_ms(self, macs: int) -> tuple[float, float]:
        """Shortest and longest time for a model of so many multiply-accumulates."""
        times = [macs / base * ms for base, ms in zip(_MACS, self.published_ms, strict=True)]
        return min(times), max(times)


BOARDS = (
    Board("Raspberry Pi 3 B+", (46.0, 30.0), _XNNPACK),
    Board("Raspberry Pi 4, 64 bit", (24.0, 17.0), _XNNPACK),
    Board(
        "Raspberry Pi 5",
        (24.0 / 4.9, 17.0 / 4.8),
        f"the Pi 4's, over the ratios 82.7/16.9 and 112.6/23.5 of github.com/aallan/"
        f"benchmarking-ml-on-the-edge; {_XNNPACK}",
    ),
    Board(
        "Edge TPU (Dev Board)",
        (2.2, 2.5),
        "Coral's Edge TPU FAQ of 2019, fully mapped models that fit its 8 MB",
    ),
)
