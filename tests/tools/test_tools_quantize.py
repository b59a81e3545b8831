"""Float to int8: ranges, calibration tiles, the gap and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.bundle.card import ReducerCard
from edgeinspect.bundle.quantization import pixel_table
from edgeinspect.cli.application import run_command_line
from edgeinspect.errors import ModelRefused, NotGood, UsageError
from edgeinspect.line.scores import Quantization, ReducerKind
from edgeinspect_tools.cli import application
from edgeinspect_tools.quantize.calibration import calibration_samples, spread_over_scores
from edgeinspect_tools.quantize.dead_channels import with_live_channels
from edgeinspect_tools.quantize.draft_bundle import bundle_in_memory, card_of, load_run
from edgeinspect_tools.quantize.gap import (
    Labelled,
    MapError,
    Scored,
    gap_against_float,
    gap_of,
    score_both,
)
from edgeinspect_tools.quantize.int8 import (
    open_model,
    quantize_int8,
    ranges_holding,
    seen_ranges,
    with_signature,
)
from edgeinspect_tools.quantize.int8_candidates import (
    LOGITS,
    Int8Method,
    check_gap,
    gap_in_words,
    logit_range,
)
from edgeinspect_tools.quantize.real import FloatModel, reduced
from edgeinspect_tools.quantize.steps import describe_model, quantize_pictures, quantize_trained
from tests.helpers.chain_samples import (
    SIDE_PX,
    conv_model,
    gap_that,
    read_dataset,
    spot_model,
    write_pictures,
    write_run,
)


def run(*arguments: str) -> int:
    return run_command_line(application, program="edgeinspect-tools", arguments=arguments)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=200),
    st.integers(4, 60),
)
@settings(max_examples=60)
def test_calibration_covers_the_scores(scores: list[float], most: int) -> None:
    chosen = spread_over_scores(np.array(scores), most=most)
    assert len(chosen) == len(set(chosen)) == min(most, len(scores))
    taken = [scores[at] for at in chosen]
    assert (min(taken), max(taken)) == (min(scores), max(scores))


def test_calibration_takes_the_rare_defects_among_many_sound_places() -> None:
    scores = np.concatenate([np.full(500, 0.01), [0.4, 0.6, 0.9]])
    assert {500, 501, 502} <= set(spread_over_scores(scores, most=20))


def test_ranges_are_the_true_extremes_and_robust_ones_hold_all_but_the_rarest() -> None:
    sample = np.zeros((1, SIDE_PX, SIDE_PX, 1), np.float32)
    sample[0, 4:8, 4:8] = 1.0  # one cell of 64
    true, robust = ranges_holding(spot_model(), [sample, sample / np.float32(2)], [1.0, 0.9])
    assert true["logits"] == pytest.approx((-4.0, 8.0))
    assert robust["logits"] == pytest.approx((-4.0, -4.0))
    assert robust["picture"] == true["picture"] == (0.0, 1.0)
    assert seen_ranges(spot_model(), [sample])["logits"] == true["logits"]


def test_a_model_without_a_signature_is_quantized_per_channel_with_int8_ends() -> None:
    assert not open_model(spot_model()).get_signature_list()
    assert open_model(with_signature(spot_model())).get_signature_list()
    rng = np.random.default_rng(0)
    samples = [rng.uniform(-1, 1, (1, SIDE_PX, SIDE_PX, 1)).astype(np.float32) for _ in range(4)]
    made = open_model(quantize_int8(spot_model(), samples, output_range=LOGITS))
    source, sink = made.get_input_details()[0], made.get_output_details()[0]
    assert source["dtype"] is sink["dtype"] is np.int8
    assert sink["quantization"][0] == pytest.approx(1 / 16, rel=0.01)
    (weights,) = [t for t in made.get_tensor_details() if t["name"] == "weights"]
    scales = weights["quantization_parameters"]["scales"]
    assert scales[0] == pytest.approx(2 * scales[1])


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1e-5])
def test_a_dead_channel_keeps_its_bias(weight: float) -> None:
    weights = np.full((2, 4, 4, 1), 12 / 16, np.float32)
    weights[1] = weight
    model = conv_model(weights, np.array([-4.0, -6.0], np.float32), side_px=SIDE_PX, stride=4)
    sample = np.random.default_rng(0).uniform(-1, 1, (1, SIDE_PX, SIDE_PX, 1)).astype(np.float32)
    made = open_model(quantize_int8(model, [sample]), reference=True)
    source, sink = made.get_input_details()[0], made.get_output_details()[0]
    scale, zero_point = source["quantization"]
    made.set_tensor(source["index"], np.rint(sample / scale + zero_point).astype(np.int8))
    made.invoke()
    scale, zero_point = sink["quantization"]
    logits = (made.get_tensor(sink["index"]).astype(float) - zero_point) * scale
    assert logits[..., 1] == pytest.approx(-6.0, abs=0.1)


def test_a_model_without_dead_channels_stays_as_it_is() -> None:
    assert with_live_channels(spot_model(), {"picture": (-1.0, 1.0)}) == spot_model()


def test_the_output_keeps_no_more_logits_than_needed() -> None:
    dark = np.full((1, SIDE_PX, SIDE_PX, 1), 0.1, np.float32)
    assert logit_range(spot_model(), [dark]) == pytest.approx((-4.4, 1.0))
    bright = np.full((1, SIDE_PX, SIDE_PX, 1), 1.0, np.float32)
    assert logit_range(spot_model(), [dark, bright])[1] == LOGITS[1]


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures and the run that was trained on it."""
    folder = tmp_path_factory.mktemp("spots")
    pictures = write_pictures(folder / "pictures")
    return pictures, write_run(folder / "run", read_dataset(pictures))


def test_float_scores_are_those_of_the_formula(spots: tuple[Path, Path]) -> None:
    described, model = load_run(spots[1])
    card = card_of(described, model)
    pixels = np.full((48, 48), 30, np.uint8)
    pixels[40:44, 40:44] = 230  # in the overlap of tiles
    look = FloatModel(model, card).look(pixels)
    assert look.score_map.shape == (12, 12, 2)
    expected = 1 / (1 + np.exp(4 - 12 * (230 - 127.5) / 127.5))
    assert look.scores[0] == pytest.approx(expected, abs=1e-6)
    assert np.unravel_index(look.score_map[..., 0].argmax(), (12, 12)) == (10, 10)


def test_reducers_match_their_definition() -> None:
    values = np.array([[[0.1], [0.9]], [[0.5], [0.7]]])
    assert reduced(values, ReducerCard()) == (0.9,)
    assert reduced(values, ReducerCard(kind=ReducerKind.KTH_LARGEST, k=3)) == (0.5,)
    top = ReducerCard(kind=ReducerKind.MEAN_TOP_K, k=2)
    assert reduced(values, top) == (pytest.approx(0.8),)
    assert reduced(values, ReducerCard(kind=ReducerKind.KTH_LARGEST, k=99)) == (0.1,)


def test_int8_follows_float_through_the_stations_inspection(spots: tuple[Path, Path]) -> None:
    described, model = load_run(spots[1])
    made = quantize_trained(
        described, model, read_dataset(spots[0]), (Int8Method.TRUE, Int8Method.ROBUST)
    )
    assert made.gap.is_within_bound
    assert made.gap.auroc_int8 == made.gap.auroc_float == 1.0
    assert made.gap.max_error < 0.05
    assert set(made.tried) == {"true", "robust"}
    assert made.layers[-1]["tensor"] == "logits"
    assert made.layers[-1]["sqnr_db"] > 10  # far logits saturate, on purpose


def test_a_mean_between_two_grey_levels_becomes_one(spots: tuple[Path, Path]) -> None:
    described, model = load_run(spots[1])
    assert described["input"]["mean"] == [127.5]
    assert card_of(described, model).input.mean == (127.5,)
    made = quantize_trained(described, model, read_dataset(spots[0]), (Int8Method.TRUE,))
    found = card_of(described, made.model).input
    assert found.mean == (128.0,)
    steps = pixel_table(
        mean=found.mean,
        std=found.std,
        quantization=Quantization(
            dtype=found.dtype, scale=found.scale, zero_point=found.zero_point
        ),
    )
    assert len(np.unique(steps)) >= 255


def test_the_gap_counts_flips_and_lost_auroc(spots: tuple[Path, Path]) -> None:
    described, model = load_run(spots[1])
    deaf = _deaf_int8(model)
    card = card_of(described, deaf)
    pictures = [Labelled(p, p.parent.name != "good") for p in sorted(spots[0].glob("*/*.png"))]
    gap = gap_of(score_both(model, bundle_in_memory(card, deaf), pictures), card)
    assert gap.auroc_float == 1.0
    assert gap.auroc_int8 == 0.5
    assert gap.flips == gap.flips_outside_band == 24
    assert not gap.is_within_bound
    with pytest.raises(NotGood, match=r"strays too far.*AUROC 1\.0000 float, 0\.5000 int8.*logits"):
        check_gap(gap, [{"tensor": "logits", "sqnr_db": 3.0}], accept=False)
    check_gap(gap, [], accept=True)


def test_the_gap_is_the_same_where_int8_was_seen_before(spots: tuple[Path, Path]) -> None:
    described, model = load_run(spots[1])
    made = quantize_trained(described, model, read_dataset(spots[0]), (Int8Method.TRUE,))
    card = card_of(described, made.model)
    pictures = [Labelled(p, p.parent.name != "good") for p in sorted(spots[0].glob("*/*.png"))]
    both = score_both(model, bundle_in_memory(card, made.model), pictures)
    known = gap_against_float(model, card, pictures, both.int8)
    assert known == dataclasses.replace(gap_of(both, card), map_error={})
    assert known.max_error > 0


def _deaf_int8(model: bytes) -> bytes:
    """An int8 model that says the same of every picture: a step of its output is 78 logits."""
    dark = np.full((1, SIDE_PX, SIDE_PX, 1), -1.0, np.float32)
    return quantize_int8(model, [dark, -dark], output_range=(-20_000.0, 0.0))


def test_one_pair_may_swap_where_there_are_few() -> None:
    assert gap_that(pairs=90, lost=1 / 90).is_within_bound
    assert not gap_that(pairs=90, lost=2 / 90).is_within_bound
    assert not gap_that(pairs=100_000, lost=0.0011).is_within_bound
    assert gap_that(pairs=100_000, lost=0.001).is_within_bound


def test_a_loss_counts_where_it_is_more_than_chance_or_scores_really_moved() -> None:
    by_chance = gap_that(pairs=90, lost=0.1, loss_error=0.08, max_error=0.0003)
    assert by_chance.is_within_bound
    assert not by_chance.is_loss_within_bound
    assert "too few pictures" in gap_in_words(by_chance)
    assert not gap_that(pairs=90, lost=0.1, loss_error=0.05, max_error=0.0003).is_within_bound
    assert not gap_that(pairs=90, lost=0.1, loss_error=0.08, max_error=0.07).is_within_bound
    assert not gap_that(pairs=90, lost=0.1, loss_error=None).is_within_bound
    assert not gap_that(pairs=100_000, lost=0.003, loss_error=0.001).is_within_bound
    assert not gap_that(pairs=90, lost=0.0, loss_error=0.0, flips_outside=1).is_within_bound


def test_an_untrained_model_whose_scores_int8_cannot_tell_apart_is_not_refused_for_it() -> None:
    """Scores within one output step of each other: their order is the rounding's."""
    rng = np.random.default_rng(3)
    real = np.full((19, 1), 0.018) + rng.normal(0, 1e-4, (19, 1))
    real[:10] += 1e-4
    kinds = tuple(Labelled(Path(str(n)), n < 10) for n in range(19))
    card = card_of(
        describe_model(spot_model(), mean=0, std=1, activation="sigmoid")
        | {"classes": [{"name": name, "role": "defect"} for name in ("one", "two")]},
        spot_model(),
    )
    both = np.hstack([real, real])
    blurred = np.round(both / 4e-4) * 4e-4
    gap = gap_of(Scored(pictures=kinds, real=both, int8=blurred, map_error={}), card)
    assert gap.auroc_lost > 0.011
    assert gap.is_within_bound
    many = tuple(Labelled(Path(str(n)), n < 300) for n in range(600))
    good_to_tell = np.linspace(0.0184, 0.0180, 600)[:, None].repeat(2, axis=1)
    deaf = Scored(
        pictures=many, real=good_to_tell, int8=np.full_like(good_to_tell, 0.018), map_error={}
    )
    lost = gap_of(deaf, card)
    assert (lost.auroc_float, lost.auroc_int8) == (1.0, 0.5)
    assert not lost.is_within_bound


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=300))
@settings(max_examples=40)
def test_map_error_matches_numpy(errors: list[float]) -> None:
    collected = MapError()
    for value in errors:
        collected.add(np.array([[value]]), np.zeros((1, 1)))
    found = collected.as_dict()
    assert found["mean"] == pytest.approx(np.mean(errors), abs=2e-6)
    assert found["max"] == pytest.approx(max(errors), abs=2e-6)
    assert found["p99_9"] <= found["max"]
    assert sum(value > found["p99_9"] + 1e-6 for value in errors) <= len(errors) * 0.001


def test_the_command_writes_model_and_report(
    spots: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", str(spots[1]), "--data", str(spots[0]), "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["within_bound"] is True
    assert (spots[1] / "model.int8.tflite").stat().st_size == printed["model_bytes"]
    assert json.loads((spots[1] / "quantized.json").read_text())["way"] == printed["way"]


def test_another_data_set_is_not_taken(
    spots: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_pictures(tmp_path / "other", good=12, each=8)
    assert run("quantize", str(spots[1]), "--data", str(other)) == 2
    assert "not the data set of this run" in capsys.readouterr().err


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / "two" / f"{number}.png"), np.zeros((32, 32), np.uint8))
    with pytest.raises(UsageError, match="holds 2 pictures"):
        _quantize(spot_model(), tmp_path / "two")
    with pytest.raises(UsageError, match="is not a folder"):
        _quantize(spot_model(), tmp_path / "none")
    with pytest.raises(UsageError, match="not a finished training run"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="not the description"):
        load_run(tmp_path)
    two_channels = conv_model(
        np.zeros((1, 1, 1, 2), np.float32), np.zeros(1, np.float32), side_px=8, stride=4
    )
    with pytest.raises(ModelRefused, match="one picture"):
        describe_model(two_channels, mean=0, std=1, activation="none")


def _quantize(model: bytes, folder: Path) -> None:
    quantize_pictures(model, folder, methods=[Int8Method.TRUE], mean=0, std=1, activation="sigmoid")


def test_a_changed_float_model_is_refused(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", good=10, each=6)
    folder = write_run(tmp_path / "run", read_dataset(pictures))
    (folder / "model.float.tflite").write_bytes(spot_model()[:-4] + b"abcd")
    with pytest.raises(ModelRefused, match="not the model that the run ended with"):
        load_run(folder)


def test_help_shows_examples() -> None:
    shown = CliRunner().invoke(application, ["quantize", "--help"]).output
    assert "edgeinspect-tools quantize run/ --data pictures/" in shown


def test_visual_wake_words_agree_at_least_as_often_as_the_published_int8(
    shared: Path, tmp_path: Path
) -> None:
    """On every 16th magnetic tile, every 40th board and Coral's two pictures, resized to 96 x 96:
    even ones calibrate and judge, odd ones are compared here and nowhere else."""
    files = [
        *sorted((shared / "data" / "magnetic_tile").glob("MT_*/Imgs/*.jpg"))[::16],
        *sorted((shared / "data" / "deeppcb").rglob("*_test.jpg"))[::40],
        *sorted((shared / "models" / "coral").glob("*.bmp")),
    ]
    made_from, compared = files[::2], files[1::2]
    for number, file in enumerate(made_from):
        (tmp_path / f"{number:03d}{file.suffix}").symlink_to(file)
    models = shared / "models" / "mlperf_tiny"
    original = (models / "vww_96_float.tflite").read_bytes()
    ours = quantize_pictures(
        original, tmp_path, methods=list(Int8Method)[:3], mean=0, std=255, activation="none"
    ).model
    described = describe_model(original, mean=0, std=255, activation="none")
    pictures = [Labelled(file, None) for file in compared]
    agreement = {}
    for name, model in (
        ("ours", ours),
        ("published", (models / "vww_96_int8.tflite").read_bytes()),
    ):
        card = card_of(described, model)
        scored = score_both(original, bundle_in_memory(card, model), pictures)
        agreement[name] = gap_of(scored, card).agreement
    assert agreement["ours"] >= agreement["published"] > 0.9


def test_calibration_samples_hold_every_grey_level(spots: tuple[Path, Path]) -> None:
    described, model = load_run(spots[1])
    card = card_of(described, model)
    pictures = [Labelled(path, None) for path in sorted((spots[0] / "good").glob("*.png"))[:3]]
    samples = calibration_samples(FloatModel(model, card), card, pictures, most=4)
    assert len(samples) == 5
    assert {sample.shape for sample in samples} == {(1, SIDE_PX, SIDE_PX, 1)}
    assert (float(samples[0].min()), float(samples[0].max())) == (-1.0, 1.0)
