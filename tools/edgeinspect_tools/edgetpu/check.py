"""The static check of a whole model: which operators the Edge TPU would run, and why not others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeinspect_tools.edgetpu.rules import (
    NEWEST_VERSION,
    ON_CHIP_BYTES,
    UNSURE,
    is_unsure,
    reason_against,
)
from edgeinspect_tools.flatbuffer import EDGETPU_OPERATOR, Operator, TfliteModel


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one operator runs; ``reason`` is why it is the CPU, "" for the Edge TPU."""

    index: int
    operator: str
    reason: str

    @property
    def mapped(self) -> bool:
        """Whether the operator runs on the Edge TPU."""
        return not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTpuCheck:
    """Where each operator of a model would run.

    Attributes:
        compiled: the file is compiled already; operators other than the compiled one run on the
            CPU.
        placements: one per operator, in order.
        parameter_bytes: size of all constants. The part beyond ``on_chip_bytes`` is streamed over
            USB or PCIe at every invocation.
        on_chip_bytes: memory of the Edge TPU.
        cautions: sentences about points that the documentation leaves open, or other problems.
    """

    compiled: bool
    placements: tuple[Placement, ...]
    parameter_bytes: int
    on_chip_bytes: int
    cautions: tuple[str, ...]

    @property
    def mapped(self) -> int:
        """Number of operators that run on the Edge TPU."""
        return sum(placement.mapped for placement in self.placements)

    @property
    def on_cpu(self) -> int:
        """Number of operators that run on the CPU."""
        return len(self.placements) - self.mapped

    @property
    def fits_on_chip(self) -> bool:
        """Whether all parameters fit into the Edge TPU's own memory."""
        return self.parameter_bytes <= self.on_chip_bytes


def check_model(model: TfliteModel) -> EdgeTpuCheck:
    """Judge a model without running it."""
    placements = _compiled_placements(model) if model.is_compiled else _placements(model)
    return EdgeTpuCheck(
        compiled=model.is_compiled,
        placements=tuple(placements),
        parameter_bytes=model.parameter_bytes,
        on_chip_bytes=ON_CHIP_BYTES,
        cautions=tuple(_cautions(model, list(placements))),
    )


def _compiled_placements(model: TfliteModel) -> list[Placement]:
    return [
        Placement(op.index, op.name, "" if op.name == EDGETPU_OPERATOR else "left to the CPU")
        for op in model.operators
    ]


def _placements(model: TfliteModel) -> list[Placement]:
    """The compiler makes one part for the Edge TPU: every operator after a break stays on the CPU.

    Operators on the CPU before anything is mapped, such as the quantization of a float input, do
    no harm to later ones.
    """
    mapped_before: set[int] = set()
    broken: dict[int, str] = {}
    result = []
    for op in model.operators:
        sources = [tensor.index for tensor in op.inputs if tensor is not None]
        reason = reason_against(op)
        breaker = next((broken[source] for source in sources if source in broken), "")
        if not reason and breaker:
            reason = f"comes after {breaker}, and only one part of a model is mapped"
        outputs = {tensor.index for tensor in op.outputs}
        if not reason or mapped_before & set(sources):
            mapped_before |= outputs
        if reason and (breaker or mapped_before & set(sources)):
            broken |= dict.fromkeys(outputs, breaker or f"{op.name} (operator {op.index})")
        result.append(Placement(op.index, op.name, reason))
    return result


def _cautions(model: TfliteModel, placements: list[Placement]) -> Iterator[str]:
    if model.subgraphs > 1:
        yield f"The file has {model.subgraphs} subgraphs; the Edge TPU takes models with one."
    open_sizes = [t.name for t in model.inputs if any(extent < 0 for extent in t.signature)]
    if open_sizes and not model.is_compiled:
        yield f"Input {open_sizes[0]} states an open size; convert with a fixed batch of 1."
    if any(tensor.shape[:1] not in ((1,), ()) for tensor in model.inputs):
        yield "The batch is larger than 1; the Edge TPU runs one picture at a time."
    yield from sorted({text for op in model.operators if (text := _version_caution(op))})
    both = zip(model.operators, placements, strict=True)
    unsure = {op.name for op, placement in both if placement.mapped and is_unsure(op)}
    yield from (f"{name}: {UNSURE[name]}." for name in sorted(unsure))


def _version_caution(op: Operator) -> str:
    newest = NEWEST_VERSION.get(op.name)
    if newest is None or op.version <= newest or op.is_custom:
        return ""
    return (
        f"{op.name} has version {op.version}; compiler 16.0 reads up to {newest} and would refuse "
        "the model."
    )
