"""The training loop: steps, a running average of the weights, validation, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.train.checkpoint import Progress, assign, values
from edgeinspect_tools.train.crops import Arrays
from edgeinspect_tools.train.training_settings import TrainSettings

Array = NDArray[np.float32]

_WARM_UP_STEPS = 60
_AVERAGE_DECAY = 0.99


class Say(Protocol):
    """Reports the progress of a training."""

    def __call__(self, *, done: float, text: str) -> None:
        """``done`` is the share of the budget that is used, [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """The task of the training loop.

    Attributes:
        model: the Keras model that is trained.
        loss: of (targets..., logits).
        batches: opens an iterator of steps' arrays from a step on: inputs and targets.
        validate: value (to maximise) and named curve values of the model as it is now.
        refresh: looks for hard spots; called after each validation.
    """

    model: Any
    loss: Callable[..., Any]
    batches: Callable[[int], AbstractContextManager[Iterator[Arrays]]]
    validate: Callable[[], tuple[float, dict[str, float]]]
    refresh: Callable[[Progress], None]


def fit(
    task: Task,
    settings: TrainSettings,
    progress: Progress,
    *,
    say: Say,
    keep: Callable[[Progress], None],
) -> Progress:
    """Train until the budget is used or validation has not improved for long.

    The model ends with the best averaged weights. ``keep`` is called after each validation, and
    on Ctrl-C before the KeyboardInterrupt goes on.

    Raises:
        FloatingPointError: the loss is not a number any more.
    """
    learner = _Learner(task, settings, progress)
    try:
        with task.batches(progress.step) as batches:
            while (used := _used(settings, progress)) < 1:
                learner.learn(*next(batches), used=used)
                say(done=used, text=f"step {progress.step}, loss {learner.mean_loss:.3f}")
                if progress.step % settings.check_every:
                    continue
                learner.check()
                keep(progress)
                say(done=used, text=_line(progress))
                if settings.patience and progress.stale >= settings.patience:
                    break
    except KeyboardInterrupt:
        learner.remember()
        keep(progress)
        raise
    if not progress.curves or progress.curves[-1]["step"] != progress.step:
        learner.check()
        say(done=1.0, text=_line(progress))
    assign(task.model.weights, progress.chosen)
    return progress


class _Learner:
    """The optimizer, the average and the compiled step of one run."""

    def __init__(self, task: Task, settings: TrainSettings, progress: Progress) -> None:
        import keras
        import tensorflow as tf

        self._task, self._settings, self._progress = task, settings, progress
        self._optimizer = keras.optimizers.Adam(settings.rate, global_clipnorm=1.0)
        self._optimizer.build(task.model.trainable_variables)
        weights = task.model.weights
        self._average = [tf.Variable(value, trainable=False) for value in values(weights)]
        if progress.model:
            assign(weights, progress.model)
            assign(self._average, progress.average)
            assign(self._optimizer.variables, progress.optimizer)
        self._step = tf.function(self._traced_step, autograph=False)
        self._seen = 0
        self._started: float | None = None
        self.mean_loss = 0.0

    def learn(self, inputs: list[Array], targets: list[Array], *, used: float) -> None:
        """One step. The first one, which compiles, does not count as time spent."""
        import tensorflow as tf

        progress = self._progress
        self._optimizer.learning_rate.assign(_rate(self._settings, progress.step, used))
        decay = min(_AVERAGE_DECAY, (1 + progress.step) / (10 + progress.step))
        given = [list(map(tf.constant, part)) for part in (inputs, targets)]
        value = float(self._step(tf.constant(decay, tf.float32), *given))
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss became {value}")
        self._seen += 1
        self.mean_loss += (value - self.mean_loss) / min(self._seen, 100)
        progress.step += 1
        now = time.monotonic()
        if self._started is None:
            self._started = now - progress.seconds
        progress.seconds = now - self._started

    def check(self) -> None:
        """Validate the averaged weights, and remember everything."""
        progress, weights = self._progress, self._task.model.weights
        self.remember()
        assign(weights, progress.average)
        value, curve = self._task.validate()
        entry = {"step": progress.step, "loss": self.mean_loss, "value": value}
        progress.curves.append({**entry, **curve})
        progress.stale += 1
        if value > progress.best:
            progress.best, progress.stale = value, 0
            progress.chosen = progress.average
        self._task.refresh(progress)
        assign(weights, progress.model)

    def remember(self) -> None:
        """Copy every variable into the progress."""
        self._progress.model = values(self._task.model.weights)
        self._progress.average = values(self._average)
        self._progress.optimizer = values(self._optimizer.variables)

    def _traced_step(self, decay: Any, inputs: Any, targets: Any) -> Any:
        import tensorflow as tf

        model = self._task.model
        with tf.GradientTape() as tape:
            given = inputs if len(inputs) > 1 else inputs[0]
            value = self._task.loss(*targets, model(given, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        self._optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        for mean, weight in zip(self._average, model.weights, strict=True):
            mean.assign(decay * mean + (1 - decay) * tf.cast(weight.value, mean.dtype))
        return value


def _used(settings: TrainSettings, progress: Progress) -> float:
    return max(progress.step / settings.steps, progress.seconds / (60 * settings.minutes))


def _rate(settings: TrainSettings, step: int, used: float) -> float:
    """Linear warm-up, then a half cosine down to a hundredth."""
    warm_up = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return settings.rate * warm_up * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1, used))))


def _line(progress: Progress) -> str:
    last = progress.curves[-1]
    named = ", ".join(
        f"{key} {value:.4f}" for key, value in last.items() if key not in ("step", "value")
    )
    return f"step {progress.step}: {named} (best {progress.best:.4f})"
