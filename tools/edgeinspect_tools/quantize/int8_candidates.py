"""Several methods of quantization, judged on pictures that none of them was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import DriverMissing, ModelRefused, NotGood
from edgeinspect.line.scores import Activation
from edgeinspect_tools.certify import layer_findings
from edgeinspect_tools.quantize.draft_bundle import bundle_in_memory, card_of
from edgeinspect_tools.quantize.gap import Gap, Labelled, gap_of, score_both
from edgeinspect_tools.quantize.int8 import (
    TrueRanges,
    open_model,
    quantize_int8,
    ranges_holding,
    tensorflow_int8,
)

LOGITS = (-8.0, 8.0 * 127 / 128)
"""Logits beyond saturate: scores from 0.0003 to 0.9997 in steps of 1/16 logit or finer, so that a
step is at most 0.016 of score wherever a threshold may lie."""

_MARGIN = 1.0
"""Logits kept beyond what calibration saw, where that is narrower than ``LOGITS``."""

_WORST_LAYERS = 5

_WORTH_TUNING = 0.005
"""Where every score holds to this, nothing that rounding did can be trained away."""

Samples = Sequence[NDArray[np.float32]]


class Int8Method(StrEnum):
    """Ways to quantize a model.

    Attributes:
        TRUE: the range of a tensor is from its lowest to its highest value.
        ROBUST: the range leaves out the rarest 0.01 % of a tensor's values.
        TIGHT: the range leaves out the rarest 0.1 % of a tensor's values.
        TENSORFLOW: TensorFlow's quantizer with the true ranges.
        AWARE: fine-tuned with the rounding in it, see ``fine_tune``.
    """

    TRUE = "true"
    ROBUST = "robust"
    TIGHT = "tight"
    TENSORFLOW = "tensorflow"
    AWARE = "aware"


class FineTune(StrEnum):
    """When to fine-tune; ``auto``: if quantization after training misses its bound."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


_SHARES = {Int8Method.TRUE: 1.0, Int8Method.ROBUST: 0.9999, Int8Method.TIGHT: 0.999}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A quantized model and how it was chosen.

    Attributes:
        method: the method that made it.
        model: bytes of the int8 TFLite file.
        gap: the gap on the pictures that decided.
        tried: every method with its gap, or why it failed.
        layers: signal to quantization noise per layer, in the graph's order.
    """

    model: bytes = field(repr=False)
    method: Int8Method
    gap: Gap
    tried: dict[str, Any]
    layers: list[dict[str, Any]] = field(repr=False)

    @property
    def worst_layers(self) -> list[dict[str, Any]]:
        """Layers with the most quantization noise."""
        return worst_layers(self.layers)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "way": self.method.value,
            **self.gap.as_dict(),
            "worst_layers": self.worst_layers,
            "tried": self.tried,
            "layers": self.layers,
        }


def quantize_best(
    float_model: bytes,
    described: dict[str, Any],
    samples: Samples,
    judging: Sequence[Labelled],
    *,
    methods: Sequence[Int8Method] = (Int8Method.TRUE, Int8Method.ROBUST, Int8Method.TIGHT),
    lessons: Callable[[], Samples] | None = None,
    fine_tune: FineTune = FineTune.AUTO,
    minutes: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Quantized:
    """Quantize by each method and keep the one that stays closest to the float model.

    TensorFlow's quantizer is tried by itself where the other one refuses the model.

    Args:
        described: as in ``run.json``; says how the model is used.
        samples: calibration inputs, see ``calibration_samples``.
        judging: pictures that are not among them.
        lessons: gives the inputs to fine-tune on; None: that method is never taken.
        minutes: of fine-tuning, see ``aware.fine_tune``.

    Raises:
        ModelRefused: no method gives an int8 model.
    """
    trial = _Trial(float_model, described, samples, judging, say)
    queue = list(methods)
    wanted = [_SHARES[method] for method in queue if method in _SHARES]
    ranges = iter(ranges_holding(float_model, samples, wanted) if wanted else [])
    for method in queue:
        try:
            if method is Int8Method.TENSORFLOW:
                trial.judge(method, tensorflow_int8(float_model, samples))
            else:
                trial.judge(method, trial.int8(float_model, next(ranges)))
        except ModelRefused as error:
            trial.tried[method.value] = error.message
            if Int8Method.TENSORFLOW not in queue:
                queue.append(Int8Method.TENSORFLOW)
    if lessons is not None and trial.wants_fine_tuning(fine_tune):
        say("fine-tuning with the rounding in it")
        try:
            trial.fine_tune(lessons(), minutes)
        except (ModelRefused, DriverMissing) as error:  # the other models still stand
            trial.tried[Int8Method.AWARE.value] = error.message
            say(error.message)
    if not trial.found:
        raise ModelRefused(
            "No quantizer accepts this model: " + " ".join(str(why) for why in trial.tried.values())
        )
    return trial.best()


class _Trial:
    """The methods tried so far, all judged in the same way."""

    def __init__(
        self,
        float_model: bytes,
        described: dict[str, Any],
        samples: Samples,
        judging: Sequence[Labelled],
        say: Callable[[str], None],
    ) -> None:
        self._float, self._described, self._samples = float_model, described, samples
        self._judging, self._say = judging, say
        self._activation = Activation(described["output"]["activation"])
        self._output: tuple[float, float] | None = None
        if self._activation is Activation.SIGMOID:
            self._output = logit_range(float_model, samples)
        self.found: list[tuple[tuple[bool, float], Int8Method, bytes, Gap]] = []
        self.tried: dict[str, Any] = {}

    def int8(self, model: bytes, ranges: TrueRanges) -> bytes:
        return quantize_int8(model, self._samples, output_range=self._output, ranges=ranges)

    def judge(self, method: Int8Method, model: bytes) -> None:
        """Compare an int8 model with the float model that it came from."""
        bundle = bundle_in_memory(card_of(self._described, model), model)
        gap = gap_of(score_both(self._float, bundle, self._judging), bundle.card)
        self.tried[method.value] = gap.as_dict()
        self._say(f"{method.value}: {gap_in_words(gap)}")
        self.found.append(((not gap.is_within_bound, gap.mean_error), method, model, gap))

    def wants_fine_tuning(self, wish: FineTune) -> bool:
        if wish is FineTune.AUTO:
            if not self.found:
                return False
            gap = min(self.found, key=_rank)[3]
            return not gap.is_within_bound and gap.max_error > _WORTH_TUNING
        return wish is FineTune.ALWAYS

    def fine_tune(self, lessons: Samples, minutes: float | None) -> None:
        """Fine-tune from the ranges of the best method so far, and judge the result."""
        from edgeinspect_tools.quantize.aware import fine_tune

        before = min(self.found, key=_rank)[1] if self.found else Int8Method.TRUE
        (ranges,) = ranges_holding(self._float, self._samples, [_SHARES.get(before, 1.0)])
        made = fine_tune(
            self._float,
            lessons,
            ranges,
            activation=self._activation,
            output_range=self._output,
            minutes=minutes,
            say=self._say,
        )
        self.judge(Int8Method.AWARE, self.int8(made.float_model, made.ranges))

    def best(self) -> Quantized:
        _, method, model, gap = min(self.found, key=_rank)
        layers = layer_findings(self._float, model, self._samples)
        return Quantized(model=model, method=method, gap=gap, tried=self.tried, layers=layers)


def _rank(entry: tuple[tuple[bool, float], Int8Method, bytes, Gap]) -> tuple[bool, float]:
    return entry[0]


def logit_range(float_model: bytes, samples: Samples) -> tuple[float, float]:
    """The range of logits that an int8 output keeps: as seen with a margin, within ``LOGITS``."""
    interpreter = open_model(float_model)
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    low, high = math.inf, -math.inf
    for sample in samples:
        interpreter.set_tensor(source["index"], sample)
        interpreter.invoke()
        values = interpreter.get_tensor(sink["index"])
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return max(LOGITS[0], min(low, 0.0) - _MARGIN), min(LOGITS[1], max(high, 0.0) + _MARGIN)


def check_gap(gap: Gap, layers: Sequence[dict[str, Any]], *, accept: bool) -> None:
    """Raise NotGood for a model beyond its bound, with its loss and its worst layers."""
    if gap.is_within_bound or accept:
        return
    where = ", ".join(f"{one['tensor']} ({one['sqnr_db']:g} dB)" for one in layers[:3])
    raise NotGood(
        f"int8 strays too far from float: {gap_in_words(gap)}. Worst layers: {where}.",
        next_action="Train longer or with more pictures, or accept the loss with --accept-gap.",
    )


def gap_in_words(gap: Gap) -> str:
    """The gap in a few words."""
    parts = [
        f"AUROC {gap.auroc_float:.4f} float, {gap.auroc_int8:.4f} int8"
        if gap.auroc_float is not None and gap.auroc_int8 is not None
        else f"top class agrees in {gap.agreement:.1%}",
        f"{gap.flips} of {gap.pictures} verdicts flip",
        f"{gap.flips_outside_band} outside the band",
        f"score error {gap.mean_error:.4f} mean, {gap.max_error:.4f} at most",
    ]
    if gap.is_within_bound and not gap.is_loss_within_bound:
        parts.append("too few pictures to measure the loss of AUROC")
    return ", ".join(parts)


def worst_layers(layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with the lowest signal-to-noise ratio, worst first."""
    return sorted(layers, key=lambda layer: float(layer["sqnr_db"]))[:_WORST_LAYERS]
