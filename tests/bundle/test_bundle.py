"""Cards, bundle directories and golden data: what is accepted, and how the rest is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeinspect.bundle.card import Card, load_card, save_card
from edgeinspect.bundle.certificate import Certificate, Tolerance
from edgeinspect.bundle.directory import Bundle, bundle_digest, load_bundle, write_bundle
from edgeinspect.bundle.golden import check_golden, compare_with_golden, read_golden
from edgeinspect.errors import ConfigError, EdgeInspectError, ModelRefused, StorageFault
from edgeinspect.files.yaml_file import dump_yaml
from edgeinspect.hw.fake_engine import FakeEngine
from edgeinspect.hw.litert import open_engine
from tests.helpers.bundle_samples import SPOT, spot_bundle
from tests.helpers.tiny_model import max_pool_model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return spot_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.directory, tmp_path / "copy"))


def test_a_card_survives_its_file(bundle: Bundle, tmp_path: Path) -> None:
    save_card(bundle.card, tmp_path / "card.yaml")
    assert load_card(tmp_path / "card.yaml") == bundle.card


def test_defaults_hold_for_every_defect_class(bundle: Bundle) -> None:
    assert bundle.card.defect_classes == ("spot",)
    assert bundle.card.threshold("spot").reject == 0.5
    with pytest.raises(KeyError):
        bundle.card.threshold("scratch")


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        (lambda c: c.update(format=2), "format", "1"),
        (lambda c: c.update(colour="red"), "colour", "a known key"),
        (lambda c: c.pop("licence"), "licence", "text"),
        (lambda c: c["input"].update(zero_point=128), "input.zero_point", "from -128 to 127"),
        (lambda c: c["input"].update(scale=0.0), "input.scale", "above 0"),
        (lambda c: c["input"].update(shape=[2, 16, 16, 1]), "input.shape", "batch"),
        (lambda c: c["input"].update(color="rgb"), "input.shape", "3 channel"),
        (lambda c: c["input"].update(mean=[1.0, 2.0]), "input.mean", "1 number"),
        (lambda c: c["input"].update(tile_overlap_px=16), "input.tile_overlap_px", "less than"),
        (lambda c: c["output"].update(stride_px=8), "output.shape", "stride_px 8"),
        (lambda c: c["output"].update(stride_px=None), "output.stride_px", "frame pixels"),
        (lambda c: c["classes"].append({"name": "b", "role": "good"}), "classes", "channel"),
        (lambda c: c["classes"][0].update(role="good"), "classes", "role: defect"),
        (lambda c: c["classes"][0].update(name="default"), "classes[0].name", "default"),
        (lambda c: c["reducer"].update(k=3), "reducer.k", "1 for the reducer max"),
        (lambda c: c["thresholds"].clear(), "thresholds.spot", "review and reject"),
        (lambda c: c["thresholds"].update(dent={"review": 0, "reject": 1}), "thresholds.dent", "a"),
        (
            lambda c: c["thresholds"]["default"].update(review=0.9),
            "thresholds.default.review",
            "at most reject",
        ),
        (lambda c: c["digests"].update({"../up": "0" * 64}), "digests", ""),
        (
            lambda c: c.update(
                task="classification",
                output={**c["output"], "shape": [1, 1]},
                reducer={"kind": "mean_top_k", "k": 3},
            ),
            "reducer.kind",
            "max",
        ),
        (lambda c: c.update(task="classification"), "output.shape", "one value per class"),
    ],
)
def test_a_wrong_card_names_file_line_key_and_what_was_expected(
    bundle: Bundle, tmp_path: Path, change: Change, key: str, expected: str
) -> None:
    data = bundle.card.model_dump(mode="json")
    change(data)
    path = tmp_path / "card.yaml"
    path.write_text(dump_yaml(data))
    with pytest.raises(ConfigError) as caught:
        load_card(path)
    assert caught.value.key.startswith(key)
    assert expected in caught.value.expected
    assert str(path) in str(caught.value)


def test_the_digest_is_that_of_the_cards_bytes(bundle: Bundle) -> None:
    assert load_bundle(bundle.directory) == bundle
    assert bundle.digest == bundle_digest(bundle.directory)
    assert set(bundle.card.digests) == {"model.tflite", "golden.npz", "certificate.json"}


@pytest.mark.parametrize("name", ["model.tflite", "golden.npz", "certificate.json"])
def test_a_changed_or_missing_file_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ModelRefused, match=f"{name} is not the file"):
        load_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(ModelRefused, match=f"{name} is missing"):
        load_bundle(copy)


def test_truncated_and_huge_files_are_refused(copy: Path) -> None:
    with (copy / "model.tflite").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ModelRefused, match="SHA-256"):
        load_bundle(copy)
    with (copy / "model.tflite").open("r+b") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(ModelRefused, match="larger than 256 MiB"):
        load_bundle(copy)


def test_a_pipe_in_the_place_of_a_file_does_not_block(copy: Path) -> None:
    (copy / "golden.npz").unlink()
    os.mkfifo(copy / "golden.npz")
    with pytest.raises(ModelRefused, match="not a regular file"):
        load_bundle(copy)


def test_a_missing_bundle_and_a_file_in_its_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="is missing"):
        load_bundle(tmp_path / "no")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelRefused, match="is not a directory"):
        load_bundle(tmp_path / "file")
    with pytest.raises(ModelRefused, match=r"card\.yaml is missing"):
        load_bundle(tmp_path)


def test_a_card_without_a_digest_is_refused(copy: Path) -> None:
    card = load_card(copy / "card.yaml")
    save_card(card.model_copy(update={"digests": {}}), copy / "card.yaml")
    with pytest.raises(ModelRefused, match="no digest"):
        load_bundle(copy)


def rewrite(bundle: Bundle, directory: Path, **changes: Any) -> Bundle:
    parts: dict[str, Any] = {
        "card": bundle.card,
        "model": bundle.model,
        "golden": bundle.golden,
        "certificate": bundle.certificate,
    }
    return write_bundle(directory, **parts | changes)


def test_writing_is_all_or_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgeinspect.bundle.directory.save_card", full)
    with pytest.raises(StorageFault, match="No space left"):
        rewrite(bundle, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_in_the_way_is_replaced_only_when_asked(bundle: Bundle, tmp_path: Path) -> None:
    rewrite(bundle, tmp_path / "b")
    with pytest.raises(ModelRefused, match="already exists"):
        rewrite(bundle, tmp_path / "b")
    other = rewrite(bundle, tmp_path / "b", others={"NOTICE": b"thanks"}, replace=True)
    assert (other.directory / "NOTICE").read_bytes() == b"thanks"
    assert other.digest != bundle.digest
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
    (tmp_path / "home").mkdir()
    with pytest.raises(ModelRefused, match="already exists"):
        rewrite(bundle, tmp_path / "home", replace=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"tolerance": {"output_steps": -1, "score_error": 0}}', b'{"format": 1}'],
)
def test_a_certificate_that_says_nothing_is_refused(
    copy: Path, bundle: Bundle, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeinspect.bundle.directory.certificate_bytes", lambda _: content)
    with pytest.raises(ModelRefused, match=r"certificate\.json"):
        rewrite(bundle, copy / "inner")


def test_the_golden_check_passes_on_the_engine_that_it_was_made_for(bundle: Bundle) -> None:
    engine = open_engine(bundle, threads=1)
    report = check_golden(bundle, engine)
    assert report.pictures == 4
    assert report.max_output_steps == 0  # a maximum rounds nowhere
    assert report.max_score_error == 0.0
    engine.close()


def shifted_engine(bundle: Bundle, steps: int) -> FakeEngine:
    """Gives what the model gives, off by some steps."""

    def answer(tile: Any) -> Any:
        pooled = tile.reshape(4, 4, 4, 4, 1).max(axis=(1, 3)).astype(np.int16)
        return np.clip(pooled - steps, -128, 127).astype(np.int8)

    specs = bundle.card.input.spec("in"), bundle.card.output.spec("out")
    return FakeEngine(input_spec=specs[0], output_spec=specs[1], script=answer)


def test_an_engine_that_strays_is_refused_with_the_figures(bundle: Bundle) -> None:
    allowed = replace_tolerance(bundle, Tolerance(output_steps=3, score_error=0.012))
    assert check_golden(allowed, shifted_engine(bundle, 3)).max_output_steps == 3
    with pytest.raises(ModelRefused, match=r"up to 4 steps \(3 allowed\).*0\.0157 \(0\.012"):
        check_golden(allowed, shifted_engine(bundle, 4))
    strict = replace_tolerance(bundle, Tolerance(output_steps=9, score_error=0.001))
    with pytest.raises(ModelRefused, match="scores by up to"):
        check_golden(strict, shifted_engine(bundle, 1))


def replace_tolerance(bundle: Bundle, tolerance: Tolerance) -> Bundle:
    return replace(bundle, certificate=Certificate(tolerance=tolerance))


def test_golden_data_hold_pictures_outputs_and_scores(bundle: Bundle) -> None:
    golden = read_golden(bundle)
    assert [entry.picture.shape for entry in golden] == [(16, 16)] * 4
    assert golden[0].outputs.shape == (1, 4, 4, 1)
    assert compare_with_golden(bundle.card, golden, shifted_engine(bundle, 0)).pictures == 4


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def bomb() -> bytes:
    """A header that promises far more bytes than follow."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40,)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("picture_00.npy", header.getvalue())
    return buffer.getvalue()


PICTURE = np.zeros((16, 16), np.uint8)
OUTPUT = np.zeros((1, 4, 4, 1), np.int8)


@pytest.mark.parametrize(
    "golden",
    [
        b"",
        b"PK\x05\x06" + b"\0" * 18,
        npz(picture_00=PICTURE),
        npz(picture_00=PICTURE, output_00=OUTPUT, scores_01=np.zeros(1)),
        npz(picture_00=PICTURE.astype(np.int16), output_00=OUTPUT, scores_00=np.zeros(1)),
        npz(picture_00=PICTURE, output_00=OUTPUT[:, :3], scores_00=np.zeros(1)),
        npz(picture_00=PICTURE, output_00=OUTPUT, scores_00=np.zeros(2)),
        npz(picture_00=PICTURE, output_00=OUTPUT, scores_00=np.array([np.nan])),
        npz(picture_00=np.array([{}], object), output_00=OUTPUT, scores_00=np.zeros(1)),
        bomb(),
    ],
)
def test_golden_data_that_are_none_are_refused(bundle: Bundle, golden: bytes) -> None:
    with pytest.raises(ModelRefused, match="golden"):
        read_golden(replace(bundle, golden=golden))


def test_damaged_golden_data_never_end_in_another_error(bundle: Bundle) -> None:
    rng = np.random.default_rng(11)
    for _ in range(150):
        data = bytearray(bundle.golden)
        for place in rng.integers(0, len(data), 3):
            data[place] = int(rng.integers(256))
        damaged = replace(bundle, golden=bytes(data[: int(rng.integers(1, len(data)))]))
        try:
            read_golden(damaged)
        except EdgeInspectError as error:
            assert isinstance(error, ModelRefused)


def test_a_model_that_is_not_the_cards_is_refused(bundle: Bundle) -> None:
    other = replace(bundle, model=max_pool_model(height=32, width=32))
    with pytest.raises(ModelRefused, match="input has shape"):
        open_engine(other, threads=1)
    other = replace(bundle, model=max_pool_model(scale=0.5))
    with pytest.raises(ModelRefused, match="scale"):
        open_engine(other, threads=1)


def test_outputs_that_are_no_scores_cannot_be_wrapped(tmp_path: Path) -> None:
    from edgeinspect_tools.pack.wrap_model import wrap_model

    model = max_pool_model(scale=0.1)
    (tmp_path / "m.tflite").write_bytes(model)
    with pytest.raises(ModelRefused, match=r"from 0 to 25\.5, which are not scores"):
        wrap_model(tmp_path / "m.tflite", tmp_path / "b", classes=[SPOT], name="m")
    assert not (tmp_path / "b").exists()


def test_cards_are_immutable(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="frozen"):
        bundle.card.name = "other"
    assert isinstance(json.loads(bundle.card.model_dump_json()), dict)
    assert Card.model_validate(bundle.card.model_dump()) == bundle.card
