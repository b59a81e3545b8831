"""Quantization-aware fine-tuning: the int8 model learns to say what the float model said.

Where rounding after training costs too much, a ``Student`` with that rounding in it is trained for
some hundred steps towards the float model's own outputs on tiles of training pictures. It needs no
labels, so that it works for a model of any origin.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgeinspect.line.scores import Activation
from edgeinspect_tools.missing import need
from edgeinspect_tools.quantize.int8 import TrueRanges, open_model, run_tflite
from edgeinspect_tools.quantize.student import Student

_STEPS = 400
_LEAST_STEPS = 40
_TIMED_STEPS = 4
"""After the first, which compiles: what a step takes is known then."""

_BATCH = 8
_RATE = 4e-3
_WARM_UP_STEPS = 20
_SOUND_WEIGHT = 0.05
"""Of a cell without any defect, beside 1 for a certain one: there are many more of them."""

Samples = Sequence[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A fine-tuned model.

    Attributes:
        float_model: the model with the weights that survive rounding best.
        ranges: ranges of its tensors, for ``quantize_int8``.
        error_before: mean weighted squared difference to the float model's outputs, before.
        error_after: the same after fine-tuning.
    """

    float_model: bytes
    ranges: TrueRanges
    error_before: float
    error_after: float


def fine_tune(
    float_model: bytes,
    lessons: Samples,
    ranges: TrueRanges,
    *,
    activation: Activation,
    output_range: tuple[float, float] | None = None,
    steps: int = _STEPS,
    minutes: float | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> FineTuned:
    """Train the rounded network towards the float one.

    Args:
        lessons: inputs in the model's shape, with the batch axis.
        ranges: of every tensor, to begin with.
        output_range: of the output, kept; None: as in ``ranges``, kept too.
        minutes: about as long at most, by fewer steps, but at least 40 of them.

    Raises:
        ModelRefused: the model has an operator that cannot be trained here.
        DriverMissing: TensorFlow is not installed.
    """
    tf = need("tensorflow")
    keras = need("keras")
    inputs = np.concatenate(list(lessons))
    wanted = run_tflite(float_model)(inputs)
    name = open_model(float_model).get_output_details()[0]["name"]
    known = dict(ranges)
    if output_range is not None:
        known[name] = output_range
        wanted = np.clip(wanted, *output_range)
    student = Student(float_model, known, fixed=[name])
    weights, unit = _weights(wanted, activation)
    optimizer = keras.optimizers.Adam(_RATE, global_clipnorm=1.0)
    optimizer.build(student.variables)

    def error_of(given: Any, target: Any, weight: Any) -> Any:
        squared = tf.square((student(given) - target) / unit)
        return tf.reduce_sum(weight * squared) / tf.reduce_sum(weight)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def learn(given: Any, target: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            error = error_of(given, target, weight)
        gradients = tape.gradient(error, student.variables)
        optimizer.apply_gradients(zip(gradients, student.variables, strict=True))
        return error

    measured = tf.function(error_of, autograph=False)

    def error_now() -> float:
        parts = [
            float(measured(inputs[at], wanted[at], weights[at]))
            for at in _batches(len(inputs), np.arange(len(inputs)))
        ]
        return float(np.mean(parts))

    before = error_now()
    rng = np.random.default_rng(seed)
    queue: list[NDArray[np.intp]] = []
    step, timed_from_s = 0, 0.0
    while step < steps:
        is_timed = minutes is None or step > _TIMED_STEPS
        optimizer.learning_rate.assign(_rate(step, steps if is_timed else min(steps, _LEAST_STEPS)))
        queue = queue or _batches(len(inputs), rng.permutation(len(inputs)))
        at = queue.pop()
        learn(inputs[at], wanted[at], weights[at])
        step += 1
        if step == 1:
            timed_from_s = time.monotonic()
        elif step == 1 + _TIMED_STEPS:
            step_s = (time.monotonic() - timed_from_s) / _TIMED_STEPS
            steps = _fitting(steps, step_s, minutes)
            say(f"{steps} steps of fine-tuning, about {steps * step_s / 60:.0f} minutes")
        elif step * 10 // steps > (step - 1) * 10 // steps:
            say(f"fine-tuning, {step / steps:.0%}")
    after = error_now()
    say(f"fine-tuned {steps} steps on {len(inputs)} tiles: error {before:.4g} to {after:.4g}")
    return FineTuned(student.float_model(), student.ranges(), before, after)


def _fitting(steps: int, step_s: float, minutes: float | None) -> int:
    """How many steps of ``step_s`` fit into the time: at least 40, at most ``steps``."""
    if minutes is None:
        return steps
    return min(steps, max(_LEAST_STEPS, int(60 * minutes / max(step_s, 1e-6))))


def _weights(
    wanted: NDArray[np.float32], activation: Activation
) -> tuple[NDArray[np.float32], float]:
    """How much each output counts, and in which unit it is compared: logits, or their spread."""
    if activation is Activation.SIGMOID:
        scores = special.expit(wanted)
        return np.asarray(scores + _SOUND_WEIGHT, np.float32), 1.0
    return np.ones_like(wanted), float(wanted.std()) + 1e-6


def _batches(count: int, order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Full batches, or all of it where there is less than one."""
    size = min(_BATCH, count)
    return [order[first : first + size] for first in range(0, count - size + 1, size)]


def _rate(step: int, steps: int) -> float:
    """A short warm-up, then a half cosine.

    Fewer steps than usual are smaller ones too, by the square: at the usual rate a deep network of
    60 layers was worse after 47 of them than before, for few do not put right what they disturb.
    """
    peak = _RATE * min(1.0, steps / _STEPS) ** 2
    warm_up = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return peak * warm_up * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
