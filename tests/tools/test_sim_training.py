"""From rendered pictures to a verified bundle in a few steps; needs the tools' libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect_tools.train.maps import STD

pytestmark = [
    pytest.mark.slow,
    # TensorFlow and its converter warn about their own internals.
    pytest.mark.filterwarnings("ignore"),
]


def test_a_bundle_is_made_in_one_command(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_quantizer")
    from edgeinspect.bundle.directory import load_bundle
    from edgeinspect.bundle.golden import check_golden
    from edgeinspect.hw.litert import open_engine
    from edgeinspect_tools.shipped.sim_surface import train_sim

    out = tmp_path / "bundle"
    few = ["--steps", "3", "--pictures", "100", "--test-parts", "30", "--accept-gap"]
    done = CliRunner().invoke(train_sim.main, ["--out", str(out), *few])
    assert done.exit_code == 0, done.output
    assert "defects of 4 px or more found" in done.output
    bundle = load_bundle(out)
    assert bundle.card.metrics["held_out_parts"] == 30
    assert bundle.card.metrics["false_rejects_of_good_parts"]["total"] == 20
    assert bundle.card.provenance["training"]["steps"] == 3
    assert len(set(bundle.card.provenance["seeds"].values())) == 2
    assert bundle.card.defect_classes == tuple(sorted(DEFECT_KINDS))
    assert len(bundle.model) < 300 * 1024
    assert bundle.card.input.scale == pytest.approx(1 / STD, rel=1e-3)
    assert (
        len(
            json.loads((out / "certificate.json").read_text())["comparison"]["quantization"][
                "layers"
            ]
        )
        > 8
    )
    engine = open_engine(bundle, threads=1)
    assert check_golden(bundle, engine).pictures == 6
    engine.close()


def test_calibration_takes_the_true_extremes() -> None:
    keras = pytest.importorskip("keras")
    pytest.importorskip("ai_edge_quantizer")
    from edgeinspect_tools.quantize import float_tflite, open_model, quantize_int8, seen_ranges

    picture = keras.Input((8, 8, 1), name="picture")
    doubled = keras.layers.Conv2D(1, 1, kernel_initializer="ones", use_bias=False)(picture)
    model = float_tflite(keras.Model(picture, doubled))
    samples = [np.zeros((1, 8, 8, 1), np.float32) for _ in range(20)]
    samples[3][0, 0, 0, 0] = 100.0
    samples[9][0, 1, 1, 0] = -50.0
    ranges = seen_ranges(model, samples)
    assert (-50.0, 100.0) in ranges.values()
    quantized = open_model(quantize_int8(model, samples))
    scale, zero_point = quantized.get_input_details()[0]["quantization"]
    assert (-128 - zero_point) * scale == pytest.approx(-50, abs=scale)
    assert (127 - zero_point) * scale == pytest.approx(100, abs=scale)
    fixed = open_model(quantize_int8(model, samples, output_range=(-8.0, 8.0)))
    assert fixed.get_output_details()[0]["quantization"][0] == pytest.approx(16 / 255)
