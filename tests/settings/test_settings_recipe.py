from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.errors import ConfigError, DiskFull, StorageFault, UsageError
from edgeinspect.files.yaml_file import dump_yaml, parse_yaml, validate
from edgeinspect.line.config import ASSUMED_RESTART_NS, GateKind, ReviewAction, Tracking
from edgeinspect.line.core import LineCore
from edgeinspect.line.messages import EncoderCount, RequestLineStop
from edgeinspect.part import CameraControls, Region
from edgeinspect.settings.compile import camera_controls, line_config, with_timing
from edgeinspect.settings.digest import recipe_digest
from edgeinspect.settings.recipe import (
    CameraSettings,
    Checks,
    Recipe,
    RoiBox,
    Timing,
    check_classes,
    default_recipe,
    load_recipe,
    recipe_yaml,
)
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import Camera as CameraWiring
from edgeinspect.settings.station_file import StationFile, example_station
from edgeinspect.settings.uncovered import describe_uncovered_faults

DIGEST = "ab" * 32
NOON = datetime.datetime(2026, 3, 14, 12, tzinfo=datetime.UTC)


def recipe(**changes: Any) -> Recipe:
    base = default_recipe(
        product="bolt",
        bundle_name="sim-surface",
        bundle_digest=DIGEST,
        thresholds={"scratch": (0.4, 0.6), "pit": (0.3, 0.5)},
        roi=Region(10, 20, 300, 200),
    )
    return Recipe(**{**{key: getattr(base, key) for key in Recipe.model_fields}, **changes})


def station(name: str = "normally-passing-guarded") -> StationFile:
    return example_station(name, data_dir=Path("/data"))


def fails(data: object) -> ConfigError:
    text = dump_yaml(data)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        validate(parse_yaml(text.encode(), path="r.yaml"), Recipe)
    return caught.value


# --- the revision -------------------------------------------------------------------------


def test_stored_text_reads_back(tmp_path: Path) -> None:
    written = recipe(camera=CameraSettings(exposure_us=250.5, gain=1), reason="é: # 'no'")
    (tmp_path / "r.yaml").write_text(recipe_yaml(written))
    assert load_recipe(tmp_path / "r.yaml") == written


@pytest.mark.parametrize(
    ("key", "value", "wrong_key", "expected"),
    [
        ("format", 2, "format", "the number 1"),
        ("revision", 0, "revision", "a whole number from 1 to 999999"),
        ("parent", 1, "parent", "less than revision (1)"),
        ("created", "2026-03-14", "created", "a date and time with UTC offset"),
        ("created", "2026-03-14T12:00:00", "created", "a date and time with UTC offset"),
        ("bundle", {"name": "x", "digest": "12"}, "bundle.digest", "64 hexadecimal digits"),
        ("roi", {"x": -1, "y": 0, "width": 1, "height": 1}, "roi.x", "from 0 to 16384"),
        ("roi", {"x": 0, "y": 0, "width": 0, "height": 1}, "roi.width", "from 1 to 16384"),
        ("camera", {"exposure_us": 0}, "camera.exposure_us", "above 0"),
        ("checks", {"mean_min": 250}, "checks.mean_min", "less than mean_max (247)"),
        ("checks", {"focus": 250}, "checks.focus", "did you mean focus_min?"),
        ("reducer", {"kind": "max", "k": 3}, "reducer.k", "1 for the reducer max"),
        ("reducer", {"kind": "mean"}, "reducer.kind", "one of max, kth_largest, mean_top_k"),
        ("thresholds", [], "thresholds", "a list of 1 to 10000 items"),
        (
            "thresholds",
            [{"name": "a", "review": 0.7, "reject": 0.6}],
            "thresholds[0].review",
            "at most reject (0.6)",
        ),
        (
            "thresholds",
            [{"name": "a", "review": 0.1, "reject": 1.5}],
            "thresholds[0].reject",
            "a number from 0 to 1",
        ),
        (
            "thresholds",
            [{"name": "a", "review": 0.1, "reject": 0.2}] * 2,
            "thresholds[1].name",
            "each class only once",
        ),
        ("timing", {"window_before_ms": 0}, "timing.window_before_ms", "above 0"),
    ],
)
def test_recipe_rules(key: str, value: object, wrong_key: str, expected: str) -> None:
    error = fails({**recipe().model_dump(mode="json"), key: value})
    assert error.key == wrong_key
    assert expected in error.expected
    assert error.line is not None


def test_thresholds_must_name_the_bundle_s_classes() -> None:
    check_classes(recipe(), ("pit", "scratch"))
    with pytest.raises(ConfigError, match="one entry for each defect class of sim-surface: pit"):
        check_classes(recipe(), ("pit",))
    with pytest.raises(ConfigError, match="pit, scratch, stain"):
        check_classes(recipe(), ("pit", "scratch", "stain"))


# --- the digest ---------------------------------------------------------------------------


def test_digest_is_of_what_decides() -> None:
    base = recipe_digest(station(), recipe(), DIGEST)
    assert len(base) == 64
    assert int(base, 16) >= 0
    elsewhere = example_station("normally-passing-guarded", data_dir=Path("/else"))
    same = [
        (elsewhere, recipe(), DIGEST),
        (station(), recipe(author="somebody", reason="else", created=NOON), DIGEST),
    ]
    others = [
        (station("normally-passing"), recipe(), DIGEST),
        (station().model_copy(update={"review_action": ReviewAction.PASS}), recipe(), DIGEST),
        (station(), recipe(revision=2), DIGEST),
        (station(), recipe(roi=None), DIGEST),
        (station(), recipe(timing=Timing(window_before_ms=39)), DIGEST),
        (station(), recipe(), "cd" * 32),
    ]
    assert {recipe_digest(*arguments) for arguments in same} == {base}
    assert len({recipe_digest(*arguments) for arguments in others} | {base}) == len(others) + 1


# --- compiled -----------------------------------------------------------------------------


def test_compiled_for_the_core() -> None:
    config = line_config(station(), recipe(), recipe_digest="d")
    ms = 1_000_000
    assert config.track.tracking is Tracking.DELAY
    assert (config.track.to_lens, config.track.exposure_window) == (60 * ms, 30 * ms)
    assert (config.track.to_gate, config.track.to_guard) == (900 * ms, 750 * ms)
    assert (config.track.window_before, config.track.window_after) == (40 * ms, 40 * ms)
    assert config.track.guard_tolerance == 40 * ms
    assert config.track.restart_ns == 300 * ms
    assert (config.trigger.debounce_ns, config.trigger.min_pitch) == (5 * ms, 150 * ms)
    assert config.gate.kind is GateKind.NORMALLY_PASSING
    assert (config.gate.min_off_ns, config.gate.max_on_ns) == (10 * ms, None)
    assert (config.gate.decision_margin_ns, config.gate.lease_ns) == (10 * ms, 200 * ms)
    assert config.confirm is not None
    assert (config.confirm.earliest_ns, config.confirm.latest_ns) == (20 * ms, 120 * ms)
    assert [(t.name, t.review, t.reject) for t in config.thresholds] == [
        ("scratch", 0.4, 0.6),
        ("pit", 0.3, 0.5),
    ]
    assert config.recipe_digest == "d"
    assert config.max_parts_in_flight == 64


def test_what_the_station_file_says_of_the_belt_reaches_the_core() -> None:
    ms = 1_000_000
    reported = {"restart_ms": 1_500.0, "stop_signal_delay_ms": 12.5}
    track = station().track.model_copy(update=reported)
    changed = station().model_copy(update={"track": track})
    config = line_config(changed, recipe(), recipe_digest="d")
    assert config.track.restart_ns == 1_500 * ms
    assert config.track.window_after == 52_500_000  # a part may be late by so much
    assert config.track.way == config.track.to_gate + 52_500_000
    silent = station().track.model_copy(update=dict.fromkeys(reported))
    changed = station().model_copy(update={"track": silent})
    config = line_config(changed, recipe(), recipe_digest="d")
    assert config.track.restart_ns == ASSUMED_RESTART_NS
    assert config.track.window_after == 40 * ms


def test_compiled_encoder_track_stays_in_counts() -> None:
    config = line_config(station("raspberry-pi-5"), recipe(), recipe_digest="d")
    assert config.track.tracking is Tracking.ENCODER
    assert (config.track.to_gate, config.track.to_guard) == (3200, 2600)
    assert config.trigger.min_pitch == 800
    assert config.track.encoder_timeout_ns == 100_000_000
    assert config.track.encoder_max_counts_per_s == 6_000
    assert config.track.encoder_jitter_ns == 1_000_000


def test_counts_stamped_by_a_thread_may_come_in_bunches() -> None:
    kernel = station("raspberry-pi-5")
    io = kernel.io.model_copy(update={"driver": "rpi-gpio"})
    callbacks = kernel.model_copy(update={"io": io})
    config = line_config(callbacks, recipe(), recipe_digest="d")
    assert config.track.encoder_jitter_ns == 100_000_000


def test_a_compiled_station_notices_counts_faster_than_its_belt() -> None:
    """One count more than the belt can make, each by itself, for a tenth of a second."""
    config = line_config(station("raspberry-pi-5"), recipe(), recipe_digest="d")
    limit = config.track.encoder_max_counts_per_s
    assert limit is not None
    for counts_per_s, noticed in ((limit - 100, False), (2 * limit, True)):
        core = LineCore(config, next_part_id=1, now_mono_ns=0)
        core.start(0)
        actions = []
        for count in range(1, counts_per_s // 10):
            at_ns = count * 1_000_000_000 // counts_per_s
            actions += core.handle(EncoderCount(count, at_ns), at_ns)
        assert any(isinstance(action, RequestLineStop) for action in actions) is noticed
        assert (core.status["encoder_distrusted"] > 0) is noticed


def test_a_long_belt_has_room_for_all_its_parts() -> None:
    track = station().track.model_copy(update={"sensor_to_gate_ms": 30_000})
    config = line_config(station().model_copy(update={"track": track}), recipe(), recipe_digest="d")
    assert config.max_parts_in_flight >= 2 * 30_000 / 150


def test_checks_follow_the_camera_settings() -> None:
    asked = recipe(camera=CameraSettings(exposure_us=300, gain=2))
    checks = line_config(station(), asked, recipe_digest="d").checks
    found = checks.controls.exposure_us, checks.controls.gain, checks.reject_frozen
    assert found == (300, 2, True)
    assert camera_controls(asked) == CameraControls(exposure_us=300, gain=2)


def test_a_folder_may_show_its_pictures_again_and_no_other_camera() -> None:
    folder = CameraWiring(driver="folder", device="/pictures")
    shown = station().model_copy(update={"camera": folder})
    assert not line_config(shown, recipe(), recipe_digest="d").checks.reject_frozen
    usb = CameraWiring(driver="v4l2", device="/dev/video0")
    live = station().model_copy(update={"camera": usb})
    assert line_config(live, recipe(), recipe_digest="d").checks.reject_frozen


def test_a_recipe_that_lets_old_pictures_pass_is_an_uncovered_fault() -> None:
    careless = recipe(checks=Checks(reject_frozen=False))
    found = "\n".join(describe_uncovered_faults(station(), careless))
    assert "checks.reject_frozen is false" in found
    assert "reject_frozen" not in "\n".join(describe_uncovered_faults(station(), recipe()))


def test_timing_overrides() -> None:
    changed = with_timing(station(), recipe(timing=Timing(window_before_ms=20, window_after_ms=60)))
    config = line_config(changed, recipe(), recipe_digest="d")
    assert (config.track.window_before, config.track.window_after) == (20_000_000, 60_000_000)
    assert with_timing(station(), recipe()) == station()


@pytest.mark.parametrize(
    ("timing", "key", "expected"),
    [
        (Timing(window_before_ms=500), "track.window_before_ms", "reject the neighbouring part"),
        (
            Timing(min_pitch_ms=85),
            "gate.min_off_ms",
            "at most the time between neighbours' windows",
        ),
        (Timing(min_pitch_counts=85), "timing.min_pitch_counts", "tracking, which is delay"),
    ],
)
def test_timing_that_does_not_fit_the_station(timing: Timing, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        line_config(station(), recipe(timing=timing), recipe_digest="d")
    assert key in caught.value.key
    assert expected in caught.value.expected
    assert "recipe bolt revision 1" in str(caught.value)


# --- the store ----------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> RecipeStore:
    return RecipeStore(tmp_path / "data" / "recipes", now_wall=lambda: NOON)


def activate(store: RecipeStore, revision: int) -> Recipe:
    return store.activate("bolt", revision, author="a", reason="b")


def test_revisions_count_up_and_never_change(store: RecipeStore) -> None:
    assert (store.products(), store.revisions("bolt")) == ([], [])
    first = store.create(recipe())
    second = store.create(recipe(revision=7, parent=1, roi=None))
    assert (first.revision, second.revision, second.created) == (1, 2, NOON)
    assert store.load("bolt", 1) == first
    assert store.load("bolt", 2) == second
    assert store.products() == ["bolt"]
    assert store.path("bolt", 2).stat().st_mode & 0o777 == 0o444
    assert store.active_pointer("bolt") is None
    with pytest.raises(ConfigError, match="an active revision of bolt"):
        store.active("bolt")


def test_activate_and_roll_back(store: RecipeStore) -> None:
    for _ in range(3):
        store.create(recipe())
    with pytest.raises(UsageError, match="no earlier active revision"):
        store.rollback("bolt", author="a", reason="b")
    for revision in (1, 3, 2):
        assert activate(store, revision).revision == revision
        assert store.active("bolt").revision == revision
    went_back = [store.rollback("bolt", author="a", reason="b").revision for _ in range(2)]
    assert went_back == [3, 1]
    assert store.active("bolt").revision == 1
    with pytest.raises(UsageError):
        store.rollback("bolt", author="a", reason="b")


def test_two_creators_never_share_a_number(store: RecipeStore, monkeypatch: Any) -> None:
    store.create(recipe())
    monkeypatch.setattr(store, "revisions", lambda product: [])  # as seen before the other wrote
    assert store.create(recipe(roi=None)).revision == 2
    assert store.load("bolt", 1).roi == RoiBox(x=10, y=20, width=300, height=200)


def test_wrong_requests(store: RecipeStore) -> None:
    with pytest.raises(UsageError, match="not a product name"):
        store.revisions("../bolt")
    with pytest.raises(UsageError, match="no revision 4, which the new revision is based on"):
        store.create(recipe(revision=5, parent=4))
    with pytest.raises(ConfigError, match="the file is missing"):
        activate(store, 9)
    assert store.products() == []


def test_failed_activation_keeps_the_last_good_one(store: RecipeStore) -> None:
    store.create(recipe())
    store.create(recipe())
    activate(store, 1)
    broken = store.path("bolt", 2)
    broken.unlink()
    broken.write_text("format: 1\nproduct: bolt\n")
    with pytest.raises(ConfigError, match=r"000002.yaml"):
        activate(store, 2)
    broken.write_text(recipe_yaml(recipe(revision=3)))
    with pytest.raises(ConfigError, match="revision is 3; expected 2, as the file's path says"):
        activate(store, 2)
    assert store.active("bolt").revision == 1


def test_edited_revision_is_noticed(store: RecipeStore) -> None:
    store.create(recipe())
    activate(store, 1)
    path = store.path("bolt", 1)
    text = path.read_text().replace("reject: 0.6", "reject: 0.9")
    path.unlink()
    path.write_text(text)
    with pytest.raises(ConfigError, match="revisions must not change"):
        store.active("bolt")
    assert activate(store, 1).thresholds[0].reject == 0.9


def test_damaged_pointer_is_one_clear_error(store: RecipeStore) -> None:
    store.create(recipe())
    activate(store, 1)
    pointer = store.path("bolt", 1).with_name("active.yaml")
    pointer.write_bytes(pointer.read_bytes()[:40])
    with pytest.raises(ConfigError, match=r"active\.yaml"):
        store.active("bolt")


class Crash(BaseException):
    """The process dies here: nothing after it runs, not even cleaning up."""


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the ``number``-th durable step fail, and every later one if the process has died."""
    steps = [0]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            steps[0] += 1
            if steps[0] == number or (steps[0] > number and isinstance(error, Crash)):
                raise error
            return original(*args, **kwargs)

        return step

    for name in ("fsync", "replace", "link", "fchmod"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    if isinstance(error, Crash):
        monkeypatch.setattr(os, "unlink", lambda *args, **kwargs: None)


LAST_STEP = 18
"""Durable steps of a ``create`` and an ``activate``, with their entries in the audit trail."""


@pytest.mark.parametrize("number", range(1, LAST_STEP + 2))
def test_crash_at_every_step(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecipeStore(tmp_path / "recipes", now_wall=lambda: NOON)
    store.create(recipe())
    activate(store, 1)
    completed = False
    with monkeypatch.context() as patched:
        crash_at(patched, number, Crash())
        try:
            created = store.create(recipe(roi=None))
            activate(store, created.revision)
            completed = True
        except Crash:
            pass
    after = RecipeStore(tmp_path / "recipes", now_wall=lambda: NOON)
    revisions = after.revisions("bolt")
    assert revisions in ([1], [1, 2])
    assert all(after.load("bolt", revision).revision == revision for revision in revisions)
    assert after.active("bolt").revision in revisions
    assert not completed or after.active("bolt").revision == 2
    assert completed == (number > LAST_STEP)
    assert activate(after, after.create(recipe()).revision) == after.active("bolt")


@pytest.mark.parametrize("number", range(1, LAST_STEP + 1))
@pytest.mark.parametrize(
    ("error", "kind"), [(OSError(28, "No space left"), DiskFull), (OSError(5, "I/O"), StorageFault)]
)
def test_storage_fault_at_every_step(
    tmp_path: Path,
    number: int,
    error: OSError,
    kind: type[StorageFault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = RecipeStore(tmp_path / "recipes", now_wall=lambda: NOON)
    store.create(recipe())
    activate(store, 1)
    with monkeypatch.context() as patched:
        crash_at(patched, number, error)
        with pytest.raises(kind):
            activate(store, store.create(recipe(roi=None)).revision)
    assert store.active("bolt").revision in (1, 2)
    left_over = [p.name for p in store.path("bolt", 1).parent.iterdir() if p.suffix == ".tmp"]
    assert left_over == []


def test_read_only_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StorageFault, match="Read-only file system"):
        RecipeStore(tmp_path / "recipes").create(recipe())


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=8), st.data())
def test_any_damaged_recipe_is_read_or_refused(junk: bytes, data: st.DataObject) -> None:
    text = recipe_yaml(recipe()).encode()
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + junk + text[at + data.draw(st.integers(0, 30)) :]
    try:
        validate(parse_yaml(damaged, path="r.yaml"), Recipe)
    except ConfigError as error:
        assert error.file == Path("r.yaml")
