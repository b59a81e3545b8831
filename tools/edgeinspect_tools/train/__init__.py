"""Training: pictures with labels in, a float model of raw logits and ``run.json`` out."""

from edgeinspect_tools.train.outcome import TrainedRun
from edgeinspect_tools.train.training_run import train
from edgeinspect_tools.train.training_settings import (
    EncoderChoice,
    Network,
    TrainSettings,
)

__all__ = ["EncoderChoice", "Network", "TrainSettings", "TrainedRun", "train"]
