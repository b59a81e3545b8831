"""A product's one golden picture, from the data set to the station that compares with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.reference import REFERENCE_FILE
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application as station
from edgeinspect.errors import ConfigError, UsageError
from edgeinspect_tools.all_in_one.plans import Wishes, candidates
from edgeinspect_tools.cli import application as tools
from edgeinspect_tools.data.dataset import Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.manifest import load_manifest, save_manifest
from edgeinspect_tools.train.methods.segmentation import described_alignment
from edgeinspect_tools.train.samples import Pictures
from edgeinspect_tools.train.training_run import reference_search_px, samples_of
from tests.helpers.align_samples import Pixels, product
from tests.helpers.chain_samples import SIDE_PX, STRIDE_PX, conv_model, read_dataset, write_run

SIZE = (96, 128)
MARGIN_PX = 14
BACKGROUND = 100


def on_belt(seed: int) -> Pixels:
    """A product with the belt around it."""
    frame = np.full(SIZE, BACKGROUND, np.uint8)
    inside = slice(MARGIN_PX, -MARGIN_PX)
    frame[inside, inside] = product(seed, *SIZE)[inside, inside]
    return frame


def write_pictures(folder: Path, *, count: int = 14) -> Path:
    """``reference.png``, and the same product lying elsewhere each time, some with a spot."""
    reference = on_belt(1)
    rng = np.random.default_rng(2)
    for kind in ("good", "spot"):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            right, down = (int(at) for at in rng.integers(-9, 10, 2))
            seen = np.roll(reference, (down, right), (0, 1)).astype(np.float64)
            seen += rng.normal(0, 3, SIZE)
            if kind == "spot":
                x, y = int(rng.integers(30, 90)), int(rng.integers(30, 60))
                seen[y : y + 8, x : x + 8] += 150 if seen[y : y + 8, x : x + 8].mean() < 110 else 90
            cv2.imwrite(
                str(folder / kind / f"{kind}{number:02d}.png"), seen.clip(0, 255).astype(np.uint8)
            )
    cv2.imwrite(str(folder / "reference.png"), reference)
    return folder


def difference_model() -> bytes:
    """Logit of a 4 x 4 cell: 24 times how much brighter it is than the reference, less 6."""
    weights = np.full((1, STRIDE_PX, STRIDE_PX, 2), 24 / STRIDE_PX**2, np.float32)
    weights[..., 1] *= -1
    return conv_model(weights, np.array([-6.0], np.float32), side_px=SIDE_PX, stride=STRIDE_PX)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("reference") / "pictures")


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_station_compares_each_part_where_it_lies_and_refuses_what_lies_wrong(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = read_dataset(pictures)
    run = write_run(
        tmp_path / "run",
        dataset,
        difference_model(),
        reference=True,
        **described_alignment(reference_search_px(dataset)),
    )
    out, data = tmp_path / "bundle", ("--data", str(pictures))
    for arguments in (["quantize", str(run), *data], ["pack", str(run), *data, "--out", str(out)]):
        assert run_command_line(tools, program="edgeinspect-tools", arguments=arguments) == 0
    bundle = load_bundle(out)
    assert bundle.card.input.reference_search_px == 32
    stored = cv2.imread(str(out / REFERENCE_FILE), cv2.IMREAD_GRAYSCALE)
    assert stored is not None
    assert np.array_equal(stored, on_belt(1))
    capsys.readouterr()
    arguments = ["verify", str(out), *data, "--json"]
    assert run_command_line(tools, program="edgeinspect-tools", arguments=arguments) == 0
    figures = last_line(capsys)
    assert figures["auroc_float"] == figures["auroc_int8"] == 1.0
    assert figures["replay_identical"] is True
    shown = tmp_path / "shown"
    shown.mkdir()
    good = cv2.imread(str(pictures / "good" / "good00.png"), cv2.IMREAD_GRAYSCALE)
    assert good is not None
    for name, pixels in (
        ("1-good", good),
        ("2-other", on_belt(77)),
        ("3-turned", np.ascontiguousarray(good[::-1, ::-1])),
    ):
        cv2.imwrite(str(shown / f"{name}.png"), pixels)
    arguments = ["replay", str(shown), "--bundle", str(out), "--json"]
    run_command_line(station, program="edgeinspect", arguments=arguments)
    replayed = last_line(capsys)
    assert replayed["verdicts"] == {"PASS": 1, "REJECT": 0, "REVIEW": 0, "CANNOT_INSPECT": 2}
    assert replayed["reasons"]["misaligned"] == 2


def test_training_sees_the_reference_where_the_part_lies(pictures: Path) -> None:
    dataset = read_dataset(pictures)
    assert {item.reference for item in dataset.items} == {pictures / "reference.png"}
    (found,) = candidates(dataset, Wishes(minutes=5)).values()
    assert found.reference
    (loaded,) = candidates(dataset, Wishes(minutes=60, weights="imagenet")).values()
    assert (loaded.reference, loaded.freeze_stride_px) == (True, 0)
    seen = Pictures(samples_of(dataset, Split.TRAIN), gray=True, reference=True)
    for number, sample in enumerate(seen.samples):
        pixels = seen[number].pixels.astype(int)
        apart = np.abs(pixels[16:-16, 16:-16, 0] - pixels[16:-16, 16:-16, 1])
        assert np.median(apart) < 6, sample.path


def test_a_picture_that_does_not_agree_ends_training_with_its_name(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    for number in range(8, 14):
        odd = folder / "good" / f"good{number:02d}.png"
        cv2.imwrite(str(odd), on_belt(50 + number))
    seen = Pictures(samples_of(read_dataset(folder), Split.TRAIN), gray=True, reference=True)
    with pytest.raises(UsageError, match=r"good\d\d\.png: The part matches the reference"):
        [seen[number] for number in range(len(seen))]


def test_a_column_names_references(pictures: Path, tmp_path: Path) -> None:
    labels = pictures.parent / "labels.csv"
    rows = [f"pictures/{kind}/{kind}{n:02d}.png,{kind}" for kind in ("good", "spot")
            for n in range(14)]  # fmt: skip
    labels.write_text(
        "path,label,reference\n" + "\n".join(f"{row},pictures/reference.png" for row in rows)
    )
    source = read_source(labels)
    assert {p.reference for p in source.pictures} == {pictures.parent / "pictures/reference.png"}
    labels.write_text(f"path,label,reference\n{rows[0]},pictures/none.png\n")
    with pytest.raises(ConfigError, match=r"csv:2: reference is 'pictures/none\.png'"):
        read_source(labels)
    labels.unlink()
    dataset = read_dataset(pictures)
    save_manifest(dataset, tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == dataset
