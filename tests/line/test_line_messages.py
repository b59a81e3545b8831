"""What the line's messages work out themselves, and the trigger's own edges."""

from __future__ import annotations

from edgeinspect.errors import InferenceFailed, Misaligned
from edgeinspect.line.config import TriggerConfig
from edgeinspect.line.messages import EncoderCount, InspectionFailed
from edgeinspect.line.track import Place
from edgeinspect.line.trigger import Debouncer, PitchCheck
from edgeinspect.part import Doubt

CONFIG = TriggerConfig(debounce_ns=1_000, min_pitch=50)


def test_a_part_out_of_place_is_distinguished_from_a_failing_engine() -> None:
    misplaced = InspectionFailed.because(7, Misaligned("x"), "moved")
    broken = InspectionFailed.because(8, InferenceFailed("x"), "broke")
    assert (misplaced.part_id, misplaced.doubt) == (7, Doubt.MISALIGNED)
    assert misplaced.detail == "moved"
    assert (broken.part_id, broken.doubt) == (8, Doubt.ENGINE_FAILED)


def test_the_readings_of_a_count_are_all_of_them_oldest_first() -> None:
    count = EncoderCount(3, 300, earlier=((1, 100), (2, 200)))
    assert count.readings == ((1, 100), (2, 200), (3, 300))


def test_an_edge_exactly_at_the_debounce_time_is_a_new_one() -> None:
    debouncer = Debouncer()
    assert debouncer.is_bounce(10_000, CONFIG) is False
    assert debouncer.is_bounce(10_999, CONFIG) is True
    assert debouncer.is_bounce(11_000, CONFIG) is False
    assert debouncer.is_bounce(11_999, CONFIG) is True  # counted from the last real edge


def test_a_part_exactly_at_the_pitch_is_far_enough() -> None:
    pitch = PitchCheck()
    assert not pitch.is_too_close(Place(0), CONFIG)
    assert not pitch.is_too_close(Place(50), CONFIG)
    assert pitch.is_too_close(Place(99), CONFIG)
    assert pitch.is_too_close(Place(149, slack=1), CONFIG)
