"""The table of training methods."""

from __future__ import annotations

from collections.abc import Mapping

from edgeinspect.errors import UsageError
from edgeinspect_tools.train.methods.classification import Classification
from edgeinspect_tools.train.methods.linear_head import LinearHead
from edgeinspect_tools.train.methods.segmentation import Segmentation
from edgeinspect_tools.train.methods.training_method import TrainingMethod
from edgeinspect_tools.train.training_settings import (
    AUTO,
    CLASSIFICATION,
    LINEAR_HEAD,
    SEGMENTATION,
)

METHODS: Mapping[str, TrainingMethod] = {
    SEGMENTATION: Segmentation(),
    CLASSIFICATION: Classification(),
    LINEAR_HEAD: LinearHead(),
}
"""Every method by the name that ``train --method`` and ``run.json`` use."""


def method_named(name: str) -> TrainingMethod:
    """The method of that name; ``auto`` is segmentation. Raises UsageError."""
    try:
        return METHODS[SEGMENTATION if name == AUTO else name]
    except KeyError:
        raise UsageError(
            f"There is no training method {name!r}.",
            next_action=f"Choose one of {', '.join((AUTO, *METHODS))}.",
        ) from None
