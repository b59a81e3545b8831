"""A dataset format, a training method and a converter are each added by one line in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.errors import UsageError
from edgeinspect.line.scores import ReducerKind
from edgeinspect_tools.convert import sources
from edgeinspect_tools.convert.convert import convert_model
from edgeinspect_tools.convert.sources import CONVERTERS, Converter
from edgeinspect_tools.data import dataset_formats
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import GOOD, Picture, Source
from edgeinspect_tools.data.dataset_formats import FORMATS, read_source
from edgeinspect_tools.data.formats.dataset_format import DatasetFormat
from edgeinspect_tools.train import TrainSettings, train, training_methods
from edgeinspect_tools.train.choice import Scored
from edgeinspect_tools.train.methods.training_method import (
    LabelledPictures,
    Learned,
    TrainingJob,
    check_both_kinds,
    described_input,
)
from edgeinspect_tools.train.samples import Sample, read_pixels
from edgeinspect_tools.train.training_methods import METHODS, method_named
from tests.helpers.made_tflite import Op, T, made

SIDE_PX = 8


def float_model() -> bytes:
    shape = (1, SIDE_PX, SIDE_PX, 1)
    return made([T(shape, "FLOAT32"), T(shape, "FLOAT32")], [Op("RELU", [0], [1])])


# --- a dataset format -----------------------------------------------------------------------


def _read_by_name(root: Path, good: str) -> Source:
    """A picture is good if its name begins with the name of the good class."""
    pictures = [
        Picture(path=path, label=GOOD if path.stem.startswith(good or GOOD) else "bright")
        for path in sorted(root.glob("*.png"))
    ]
    return Source(kind="by-name", root=root, pictures=tuple(pictures))


BY_NAME = DatasetFormat(
    name="by-name",
    description="pictures whose names begin with good_ or bad_",
    recognises=lambda path: (path / "by-name").exists(),
    read=_read_by_name,
)


def add_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_formats, "FORMATS", (*FORMATS, BY_NAME))


def draw_pictures(folder: Path) -> Path:
    """Twenty dark good pictures and twenty bright ones."""
    folder.mkdir()
    for number in range(40):
        rng = np.random.default_rng(number)
        bright = number % 2 == 1
        pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX)) // 2 + 120 * bright
        name = f"{'bad' if bright else 'good'}_{number:02}.png"
        cv2.imwrite(str(folder / name), pixels.astype(np.uint8))
    (folder / "by-name").touch()
    return folder


def test_a_dataset_format_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw_pictures(tmp_path / "pictures")
    with pytest.raises(UsageError, match="has no label"):
        read_source(folder)
    add_format(monkeypatch)
    for text in (str(folder), f"by-name:{folder}"):
        source = read_source(text)
        assert (source.kind, len(source.pictures)) == ("by-name", 40)
    with pytest.raises(UsageError) as refused:
        read_source(draw_pictures(tmp_path / "none"), good="flawless")
    assert "no class is named flawless" in str(refused.value)
    with pytest.raises(UsageError) as unknown:
        read_source(__file__)
    assert BY_NAME.description in unknown.value.next_action


# --- a training method ----------------------------------------------------------------------


class Brightest:
    """A picture's score is its mean grey level; there is nothing to learn."""

    def check(self, pictures: LabelledPictures, settings: TrainSettings) -> None:
        check_both_kinds(pictures)

    def train(self, job: TrainingJob) -> Learned:
        job.say(done=1.0, text="nothing to learn")
        job.progress.step = 1
        job.progress.curves = [{"step": 1, "value": 1.0}]
        described = {
            "task": "segmentation",
            "classes": [{"name": name, "role": "defect"} for name in job.pictures.classes],
            "input": described_input(job.settings) | {"fit": "resize"},
            "output": {"activation": "sigmoid", "stride_px": 1},
            "note": "brightest",
        }
        return Learned(float_model(), described)

    def score(
        self, learned: Learned, samples: Sequence[Sample], settings: TrainSettings
    ) -> list[Scored]:
        levels = [float(read_pixels(sample.path, gray=True).mean()) / 255 for sample in samples]
        return [
            Scored(sample.index, {(ReducerKind.MAX, 1): level})
            for sample, level in zip(samples, levels, strict=True)
        ]


def test_a_training_method_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_format(monkeypatch)
    dataset = build_dataset(read_source(draw_pictures(tmp_path / "pictures"))).dataset
    settings = TrainSettings(method="brightest", gray=True)
    run = tmp_path / "run"
    with pytest.raises(UsageError, match="no training method 'brightest'"):
        train(dataset, settings, run, progress=lambda *, done, text: None)
    monkeypatch.setattr(training_methods, "METHODS", {**METHODS, "brightest": Brightest()})
    said: list[str] = []
    trained = train(dataset, settings, run, progress=lambda *, done, text: said.append(text))
    assert said == ["nothing to learn"]
    assert trained.model.read_bytes() == float_model()
    found = trained.description
    assert (found["note"], found["settings"]["method"]) == ("brightest", "brightest")
    assert found["validation"]["auroc"] == 1.0
    assert 0.3 < found["thresholds"]["default"]["reject"] < 0.7


def test_auto_is_segmentation() -> None:
    assert method_named("auto") is METHODS["segmentation"]


# --- a converter ----------------------------------------------------------------------------

SCRIPT = """
import json, sys
import numpy as np
request = json.load(open(sys.argv[1]))
if request["do"] == "convert":
    open(request["out"], "wb").write(open(request["source"], "rb").read())
else:
    np.save(request["outputs"], np.maximum(np.load(request["inputs"]), 0))
"""


def test_a_converter_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, script = tmp_path / "model.toy", tmp_path / "from_toy.py"
    source.write_bytes(float_model())
    script.write_text(SCRIPT)
    with pytest.raises(UsageError, match="not a kind of model that can be converted"):
        convert_model(str(source))
    toy = Converter(
        kind="toy", description=".toy", suffixes=(".toy",), script=str(script), module="numpy"
    )
    monkeypatch.setattr(sources, "CONVERTERS", (*CONVERTERS, toy))
    converted = convert_model(str(source))
    assert (converted.kind, converted.error) == ("toy", 0.0)
