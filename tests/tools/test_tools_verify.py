"""The parity certificate: figures, flips, replay, what counts as held out, the page."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.assembly.preflight import check_bundle
from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.cli.application import run_command_line
from edgeinspect.errors import ModelRefused, NotGood, StorageFault, UsageError
from edgeinspect.intervals import clopper_pearson
from edgeinspect_tools.cli import application
from edgeinspect_tools.data.dataset import Split
from edgeinspect_tools.data.training_data import as_split_before, never_used, split_bytes
from edgeinspect_tools.pack.bundle import Identity, pack
from edgeinspect_tools.pack.names import bundle_name
from edgeinspect_tools.pack.pack_command import load_trained
from edgeinspect_tools.quantize.draft_bundle import load_run
from edgeinspect_tools.quantize.int8_candidates import FineTune, Int8Method
from edgeinspect_tools.quantize.steps import quantize_trained
from edgeinspect_tools.shipped.deeppcb.verify_boards import verify_boards
from edgeinspect_tools.verify.measure import average_precision, check_identical, verify_bundle
from edgeinspect_tools.verify.verify_command import find_float
from edgeinspect_tools.verify.verify_page import report_html
from tests.helpers.chain_samples import read_dataset, write_pictures, write_run


def run(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)


@dataclasses.dataclass(frozen=True)
class Made:
    pictures: Path
    run: Path
    bundle: Bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Pictures, a quantized run, and the bundle packed from it by the commands."""
    folder = tmp_path_factory.mktemp("made")
    pictures = write_pictures(folder / "pictures")
    trained = write_run(folder / "run", read_dataset(pictures))
    data = ("--data", str(pictures))
    assert run("quantize", str(trained), *data) == 0
    out = folder / "spot-finder"
    assert run("pack", str(trained), *data, "--out", str(out), "--licence", "CC0-1.0") == 0
    return Made(pictures, trained, load_bundle(out))


def test_the_bundle_passes_the_stations_check(made: Made) -> None:
    assert {finding.state for finding in check_bundle(made.bundle.directory)} == {"ok"}
    card = made.bundle.card
    assert (card.name, card.licence) == ("spot-finder", "CC0-1.0")
    assert card.provenance["data"]["pictures"]["test"] == {"good": 4, "defective": 4}
    assert card.metrics["auroc_int8"] == 1.0
    assert made.bundle.certificate.comparison["within_bound"] is True
    around = made.bundle.certificate.comparison["flips_around"]
    assert set(around) == {
        f"{n}{s}" for n in ("review", "reject") for s in ("-0.10", "+0.00", "+0.10")
    }
    assert {counted["parts"] for counted in around.values()} == {8}
    assert around["reject+0.00"]["flips"] == 0
    assert made.bundle.certificate.comparison["worst_layers"]


def test_verify_prints_what_scripts_rely_on(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    bundle, data = str(made.bundle.directory), str(made.pictures)
    assert run("verify", bundle, "--data", data, "--html", str(page), "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["n_good"] == found["n_defective"] == 4
    assert found["auroc_float"] == found["auroc_int8"] == found["average_precision_int8"] == 1.0
    assert found["escape_rate"] == found["false_reject_rate"] == 0.0
    assert found["escape_upper95"] == pytest.approx(clopper_pearson(0, 4)[1])
    assert found["false_reject_upper95"] == pytest.approx(1 - 0.025 ** (1 / 4))
    assert found["flips"] == 0
    assert found["replay_identical"] is True
    assert found["model_bytes"] == len(made.bundle.model)
    assert b"Certificate of spot-finder 1" in page.read_bytes()


def test_escapes_and_false_rejects_are_what_the_gate_did(made: Made) -> None:
    dataset = read_dataset(made.pictures)
    items = list(dataset.of(Split.TEST))
    swapped = [
        dataclasses.replace(item, label="spot" if item.is_good else "good") for item in items
    ]
    found = verify_bundle(made.bundle, swapped, None)
    figures = found.figures()
    assert figures["escape_rate"] == figures["false_reject_rate"] == 1.0
    assert figures["auroc_int8"] == 0.0
    assert figures["auroc_float"] is figures["flips"] is None
    text = report_html(made.bundle.card, found, data="<b>x</b>").decode()
    assert text.count("<figure>") == 8
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "could not be compared" in text
    assert "No verdict differs" not in text


def test_flips_name_picture_threshold_and_distance(made: Made) -> None:
    """A float model that is a little braver flips what lies just below the threshold."""
    from tests.helpers.chain_samples import SIDE_PX, STRIDE_PX, conv_model

    weights = np.full((2, STRIDE_PX, STRIDE_PX, 1), 12 / STRIDE_PX**2, np.float32)
    brave = conv_model(weights, np.array([9.0, 9.0], np.float32), side_px=SIDE_PX, stride=STRIDE_PX)
    items = list(read_dataset(made.pictures).of(Split.TEST))
    found = verify_bundle(made.bundle, items, brave)
    good = {item.path.name for item in items if item.is_good}
    assert good
    assert {flip.file for flip in found.flips} == good
    assert all(flip.score_float > flip.score_int8 for flip in found.flips)
    limits = {
        name: getattr(made.bundle.card.threshold("spot"), name) for name in ("review", "reject")
    }
    for flip in found.flips:
        assert flip.distance == pytest.approx(flip.score_float - limits[flip.threshold], abs=2e-6)
    assert found.figures()["within_bound"] is False


def test_a_replay_that_differs_in_one_bit_fails(made: Made) -> None:
    items = list(read_dataset(made.pictures).of(Split.TEST))
    found = verify_bundle(made.bundle, items, None)
    check_identical(found.scored, found.replayed)
    first = tuple(np.nextafter(score, 2.0) for score in found.replayed.scores[0])
    other = dataclasses.replace(found.replayed, scores=(first, *found.replayed.scores[1:]))
    with pytest.raises(NotGood, match="1 of 8 pictures other scores"):
        check_identical(found.scored, other)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=80)
def test_average_precision_is_the_mean_precision_over_found_defects(
    scored: list[tuple[int, bool]],
) -> None:
    bad = [float(score) for score, is_bad in scored if is_bad]
    good = [float(score) for score, is_bad in scored if not is_bad]
    if not bad:
        assert np.isnan(average_precision(bad, good))
        return
    total, before = 0.0, 0
    for limit in sorted({*bad, *good}, reverse=True):
        hits = sum(score >= limit for score in bad)
        total += (hits - before) * hits / (hits + sum(score >= limit for score in good))
        before = hits
    assert average_precision(bad, good) == pytest.approx(total / len(bad))


def test_training_pictures_never_count_as_held_out(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = read_dataset(made.pictures)
    stored = split_bytes(dataset)
    assert never_used(read_dataset(made.pictures, seed=9), stored) == tuple(
        item for item in read_dataset(made.pictures, seed=9).items
        if item.path in {one.path for one in dataset.of(Split.TEST)}
    )  # fmt: skip
    again = as_split_before(read_dataset(made.pictures, seed=9), stored)
    assert {i.path: i.split for i in again.items} == {i.path: i.split for i in dataset.items}
    only_seen = tmp_path / "seen"
    for item in dataset.of(Split.TRAIN):
        (only_seen / item.label).mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, only_seen / item.label)
    bundle = str(made.bundle.directory)
    for split in ("test", "all"):
        assert run("verify", bundle, "--data", str(only_seen), "--split", split) == 2
        assert "no " + split + " pictures" in capsys.readouterr().err


def test_a_near_duplicate_of_a_training_picture_is_a_training_picture(
    made: Made, tmp_path: Path
) -> None:
    dataset = read_dataset(made.pictures)
    new = write_pictures(tmp_path / "new", good=6, each=5, side_px=40)
    twin = next(item for item in dataset.of(Split.TRAIN) if not item.is_good)
    pixels = cv2.imread(str(twin.path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    cv2.imwrite(str(new / twin.label / "twin.png"), np.clip(pixels + 1, 0, 255))
    shutil.copy(twin.path, new / twin.label / "original.png")
    unseen = {item.path.name for item in never_used(read_dataset(new), split_bytes(dataset))}
    assert not {"twin.png", "original.png"} & unseen
    assert len(unseen) == 16


def test_a_gap_beyond_the_bound_is_refused_or_marked(made: Made, tmp_path: Path) -> None:
    trained = load_trained(made.run)
    dataset = read_dataset(made.pictures)
    dark = np.full((1, 32, 32, 1), -1.0, np.float32)
    from edgeinspect_tools.quantize.int8 import quantize_int8

    deaf = quantize_int8(trained.float_model, [dark, -dark], output_range=(-20_000.0, 0.0))
    broken = dataclasses.replace(trained, int8_model=deaf)
    identity = Identity(name="deaf")
    with pytest.raises(NotGood, match="strays too far"):
        pack(broken, dataset, tmp_path / "out", identity=identity)
    assert not (tmp_path / "out").exists()
    bundle, _ = pack(broken, dataset, tmp_path / "out", identity=identity, accept_gap=True)
    assert bundle.card.metrics["accepted_gap"] is True
    assert bundle.certificate.comparison["accepted_gap"] is True
    assert "accepted that" in (tmp_path / "out" / "card.html").read_text()


def test_the_card_says_what_the_model_was_chosen_among(made: Made, tmp_path: Path) -> None:
    trained = load_trained(made.run)
    others = {"frozen encoder": 0.8627, "classifier": 0.86844}
    chosen = dataclasses.replace(trained, described={**trained.described, "chosen_among": others})
    identity = Identity(name="chosen")
    bundle, _ = pack(chosen, read_dataset(made.pictures), tmp_path / "out", identity=identity)
    assert bundle.card.provenance["training"]["chosen_among"] == others
    shown = (tmp_path / "out" / "card.html").read_text()
    assert "frozen encoder 0.863, classifier 0.868 (AUROC of int8" in shown
    assert "chosen among" not in (made.bundle.directory / "card.html").read_text()


def test_no_picture_and_no_float_model_need_to_ship(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lean"
    options = ("--data", str(made.pictures), "--out", str(out), "--drawn-golden")
    assert run("pack", str(made.run), *options, "--without-float") == 0
    lean = load_bundle(out)
    assert find_float(lean, None) is None
    assert find_float(made.bundle, None) == (made.run / "model.float.tflite").read_bytes()
    assert run("verify", str(out), "--data", str(made.pictures), "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["auroc_float"] is None
    assert found["auroc_int8"] == 1.0
    named = ("--float", str(made.run / "model.float.tflite"))
    assert run("verify", str(out), "--data", str(made.pictures), *named, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["auroc_float"] == 1.0


def test_what_is_in_the_way_stays(made: Made, tmp_path: Path) -> None:
    trained, dataset = load_trained(made.run), read_dataset(made.pictures)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ModelRefused, match="already exists"):
        pack(trained, dataset, tmp_path / "mine", identity=Identity(name="x"), replace=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_full_disk_leaves_nothing_that_looks_finished(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeinspect.bundle import directory

    def full(path: Path, data: bytes, **_: object) -> None:
        if path.name == "golden.npz":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(directory, "replace_file", full)
    with pytest.raises(StorageFault, match="No space left"):
        pack(
            load_trained(made.run), read_dataset(made.pictures), tmp_path / "out",
            identity=Identity(name="x"),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_quantized_is_not_packed(made: Made, tmp_path: Path) -> None:
    fresh = write_run(tmp_path / "run", read_dataset(made.pictures))
    with pytest.raises(UsageError, match="not quantized yet"):
        load_trained(fresh)
    dataset = read_dataset(made.pictures)
    quantized = quantize_trained(
        *load_run(fresh), dataset, [Int8Method.TRUE], fine_tune=FineTune.NEVER
    )
    assert quantized.gap.is_within_bound


def test_a_bundle_for_other_defects_is_not_judged_on_boards(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not know copper"):
        verify_boards(made.bundle, tmp_path)


def test_names_come_from_the_directory() -> None:
    assert bundle_name(Path("/x/my parts!")) == "my-parts-"
    assert bundle_name(Path("/x/.hidden")) == "hidden"
    assert bundle_name(Path("/")) == "bundle"
