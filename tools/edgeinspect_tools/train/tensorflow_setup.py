"""TensorFlow, loaded and seeded the same way for every method that uses it."""

from __future__ import annotations

import os

from edgeinspect_tools.missing import need
from edgeinspect_tools.train.training_settings import TrainSettings


def prepare_tensorflow(settings: TrainSettings) -> None:
    """Load TensorFlow quietly and seed it. Raises DriverMissing with the install command."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow = need("tensorflow")
    keras = need("keras")
    tensorflow.get_logger().setLevel("ERROR")
    if settings.threads:
        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(settings.threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # already running in this process: it keeps its threads
            pass
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.seed)
