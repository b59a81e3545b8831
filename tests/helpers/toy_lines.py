"""A driver of lines of our own: what a file in ``edgeinspect/hw`` must offer, and no more."""

from __future__ import annotations

from edgeinspect.hw.fake_io import FakeEdgeInput, FakeEncoder, FakeLevelInput, FakeOutput
from edgeinspect.settings.wiring import EncoderLine, InputLine, Io, OutputLine


def edge_input(io: Io, wire: InputLine) -> FakeEdgeInput:
    """See ``edgeinspect.hw.registry.IoModule``, like all of these."""
    assert io.driver == "toy" and wire.line
    return FakeEdgeInput()


def level_input(io: Io, wire: InputLine) -> FakeLevelInput:
    assert io.driver == "toy" and wire.line
    return FakeLevelInput()


def encoder_input(io: Io, wire: EncoderLine) -> FakeEncoder:
    assert io.driver == "toy" and wire.line
    return FakeEncoder()


def output(io: Io, wire: OutputLine) -> FakeOutput:
    assert io.driver == "toy" and wire.line
    return FakeOutput()
