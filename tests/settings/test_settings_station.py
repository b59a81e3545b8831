from __future__ import annotations

import copy
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.files.yaml_expected import KeyPath, dotted
from edgeinspect.files.yaml_file import dump_yaml, parse_yaml, validate
from edgeinspect.line.config import GateKind, ReviewAction
from edgeinspect.settings.station_file import (
    StationFile,
    example_names,
    example_station,
    load_station,
)
from edgeinspect.settings.uncovered import describe_uncovered_faults

EXAMPLES = resources.files("edgeinspect.settings") / "examples"
TEXTS = {name: (EXAMPLES / f"{name}.yaml").read_text() for name in example_names()}
DATA: dict[str, Any] = {
    name: parse_yaml(text.encode(), path=name).data for name, text in TEXTS.items()
}
unhurried = settings(deadline=None, max_examples=100)
GUARDED = "normally-passing-guarded"


def paths_of(data: Any, *, here: KeyPath = ()) -> list[KeyPath]:
    """Every key path in the data, sections included."""
    found: list[KeyPath] = []
    for key, value in data.items() if isinstance(data, dict) else ():
        found += [(*here, key), *paths_of(value, here=(*here, key))]
    return found


def value_at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data[key]
    return data


def changed(data: Any, path: KeyPath, value: object) -> Any:
    data = copy.deepcopy(data)
    value_at(data, path[:-1])[path[-1]] = value
    return data


def without(data: Any, path: KeyPath) -> Any:
    data = copy.deepcopy(data)
    del value_at(data, path[:-1])[path[-1]]
    return data


def station_of(data: Any) -> StationFile:
    return validate(parse_yaml(dump_yaml(data).encode(), path="station.yaml"), StationFile)


def expect_refusal(data: Any, path: KeyPath) -> ConfigError:
    """The data is refused at exactly this key, with the line where the key stands."""
    yaml_file = parse_yaml(dump_yaml(data).encode(), path="station.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(yaml_file, StationFile)
    error = caught.value
    assert (error.key, error.line) == (dotted(path), yaml_file.line_of(path))
    assert str(error).startswith(f"station.yaml:{error.line}: {error.key} is ")
    return error


PLACES = [(name, path) for name in TEXTS for path in paths_of(DATA[name])]
SECTIONS = [(name, path) for name, path in PLACES if isinstance(value_at(DATA[name], path), dict)]
NUMBERS = [
    (name, path) for name, path in PLACES if type(value_at(DATA[name], path)) in (int, float)
]
WORDS = [(name, path) for name, path in PLACES if isinstance(value_at(DATA[name], path), str)]


@pytest.mark.parametrize("name", TEXTS)
def test_examples_load(name: str, tmp_path: Path) -> None:
    station = example_station(name, data_dir=tmp_path)
    assert station.data_dir == tmp_path
    assert station.recipes_dir == tmp_path / "recipes"
    assert station.bundles_path == tmp_path / "bundles"


def test_simulated_examples_differ_in_the_gate_only() -> None:
    kinds = {name: example_station(name, data_dir=Path("/d")) for name in TEXTS if "-5" not in name}
    assert {name: (s.gate.kind, s.lines.guard is not None) for name, s in kinds.items()} == {
        "normally-rejecting": (GateKind.NORMALLY_REJECTING, False),
        "normally-passing": (GateKind.NORMALLY_PASSING, False),
        GUARDED: (GateKind.NORMALLY_PASSING, True),
    }


def test_unknown_example() -> None:
    with pytest.raises(UsageError, match="normally-passing-guarded"):
        example_station("../../etc/passwd", data_dir=Path("/d"))


@unhurried
@given(
    st.sampled_from([*SECTIONS, *((name, ()) for name in TEXTS)]),
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12),
)
def test_unknown_key_anywhere(place: tuple[str, KeyPath], key: str) -> None:
    name, section = place
    path = (*section, "q" + key)
    error = expect_refusal(changed(DATA[name], path, 1), path)
    assert error.expected.startswith("a known key")


@unhurried
@given(st.sampled_from([place for place in PLACES if place[1][-1] != "tracking"]))
def test_misspelt_key_anywhere_is_suggested(place: tuple[str, KeyPath]) -> None:
    name, path = place
    wrong = (*path[:-1], f"{path[-1]}x")
    data = changed(without(DATA[name], path), wrong, value_at(DATA[name], path))
    assert f"did you mean {path[-1]}?" in expect_refusal(data, wrong).expected


@unhurried
@given(st.sampled_from(PLACES), st.sampled_from([[[]], [{}], [{"a": 1}]]))
def test_wrong_type_anywhere(place: tuple[str, KeyPath], value: object) -> None:
    expect_refusal(changed(DATA[place[0]], place[1], value), place[1])


@unhurried
@given(st.sampled_from(NUMBERS), st.sampled_from([-(10**12), 10**16, True, "7", float("nan")]))
def test_number_out_of_range_anywhere(place: tuple[str, KeyPath], value: object) -> None:
    error = expect_refusal(changed(DATA[place[0]], place[1], value), place[1])
    assert error.value is value or error.value == value or value != value


@unhurried
@given(st.sampled_from(WORDS), st.sampled_from(["\x01", "a\nb", 10**9, -1.5, False]))
def test_wrong_word_anywhere(place: tuple[str, KeyPath], value: object) -> None:
    expect_refusal(changed(DATA[place[0]], place[1], value), place[1])


@unhurried
@given(
    st.sampled_from(PLACES),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just("remove")
    | st.dictionaries(st.sampled_from(["line", "driver", "kind", "tracking"]), st.integers()),
)
def test_any_change_gives_a_station_or_one_config_error(
    place: tuple[str, KeyPath], value: object
) -> None:
    name, path = place
    data = without(DATA[name], path) if value == "remove" else changed(DATA[name], path, value)
    try:
        station_of(data)
    except ConfigError as error:
        assert error.line is not None or path[0] == error.key
        assert error.expected


@unhurried
@given(st.sampled_from(sorted(TEXTS)), st.data())
def test_any_damaged_text_gives_a_station_or_one_config_error(
    name: str, data: st.DataObject
) -> None:
    text = TEXTS[name].encode()
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 40))
    damaged = text[:at] + data.draw(st.binary(max_size=6)) + text[at + length :]
    try:
        validate(parse_yaml(damaged, path="station.yaml"), StationFile)
    except ConfigError as error:
        assert error.file == Path("station.yaml")


RULES = [
    (GUARDED, ("track", "exposure_window_ms"), 150, "less than track.min_pitch_ms (150)"),
    (GUARDED, ("track", "window_before_ms"), 111, "would also reject the neighbouring part"),
    (GUARDED, ("track", "sensor_to_gate_ms"), 130, "after the part has left the lens"),
    (GUARDED, ("track", "sensor_to_guard_ms"), 100, "after the lens (60)"),
    (
        GUARDED,
        ("track", "sensor_to_guard_ms"),
        820,
        "before the start of the window at the gate (860)",
    ),
    (GUARDED, ("track", "guard_tolerance_ms"), 75.5, "at most half of track.min_pitch_ms (75)"),
    (GUARDED, ("track", "guard_tolerance_ms"), None, "track.sensor_to_guard_ms is given"),
    ("normally-passing", ("track", "sensor_to_guard_ms"), 750, "track.sensor_to_guard_ms is given"),
    (GUARDED, ("trigger_debounce_ms",), 150, "less than track.min_pitch_ms (150)"),
    (GUARDED, ("gate", "min_off_ms"), 70.5, "at most the time between neighbours' windows"),
    (GUARDED, ("gate", "max_on_ms"), 79, "at least the part's window (80)"),
    (GUARDED, ("gate", "timing_tolerance_ms"), 40, "less than half the part's window (40)"),
    (GUARDED, ("camera", "stamp_error_ms"), 15, "less than half of exposure_window_ms (15)"),
    (GUARDED, ("gate", "lease_ms"), 860, "less than the travel from trigger to gate (860)"),
    (GUARDED, ("gate", "decision_margin_ms"), 0, "a number above 0"),
    (GUARDED, ("gate", "decision_margin_ms"), 770, "the lens to the gate (770)"),
    (
        GUARDED,
        ("confirm", "earliest_ms"),
        200,
        "less than latest_ms + the part's window (120 + 80)",
    ),
    (GUARDED, ("track", "restart_ms"), -1, "a number from 0 to 600000"),
    (GUARDED, ("track", "stop_signal_delay_ms"), 71, "window_after_ms + stop_signal_delay_ms of"),
    (GUARDED, ("lines", "line_stopped", "debounce_us"), 500, "line_stopped.debounce_us adds to it"),
    (GUARDED, ("recipe",), 0, "active, or a revision from 1"),
    (
        GUARDED,
        ("lines", "confirm", "line"),
        "gate",
        "a different line, because lines.confirm uses this",
    ),
    (GUARDED, ("camera", "driver"), "folder", "the folder, for the driver folder"),
    (GUARDED, ("camera", "width_px"), 640, "width_px and height_px together"),
    (GUARDED, ("io", "driver"), "gpiod", "the chip's label"),
    (GUARDED, ("io", "driver"), "rpi-gpio", "a BCM number from 0 to 27"),
    ("raspberry-pi-5", ("io", "driver"), "rpi-gpio", ""),
    ("raspberry-pi-5", ("encoder",), None, "the encoder, because track.tracking is encoder"),
    ("raspberry-pi-5", ("encoder", "timeout_ms"), 0, "a number above 0"),
    ("raspberry-pi-5", ("encoder", "max_counts_per_s"), 0, "a whole number from 1"),
    ("raspberry-pi-5", ("encoder", "max_counts_per_s"), 400_000, "the time from part to part"),
    ("raspberry-pi-5", ("trigger_debounce_ms",), 140, "at encoder.max_counts_per_s (133.333)"),
    ("raspberry-pi-5", ("gate", "min_off_ms"), 60, "windows at encoder.max_counts_per_s (50)"),
    ("raspberry-pi-5", ("gate", "max_on_ms"), 80, "window at encoder.max_counts_per_s (83.3333)"),
    ("raspberry-pi-5", ("gate", "timing_tolerance_ms"), 42, "max_counts_per_s (41.6667)"),
    ("raspberry-pi-5", ("gate", "lease_ms"), 500, "gate at encoder.max_counts_per_s (491.667)"),
    ("raspberry-pi-5", ("gate", "decision_margin_ms"), 440, "max_counts_per_s (440)"),
    ("raspberry-pi-5", ("encoder", "line"), "GPIO17", "lines.trigger uses this one"),
    ("raspberry-pi-5", ("track", "exposure_window_counts"), 800, "min_pitch_counts (800)"),
    ("raspberry-pi-5", ("lines", "guard"), None, "no value, because lines.guard is not wired"),
]


@pytest.mark.parametrize(("name", "path", "value", "expected"), RULES)
def test_rules(name: str, path: KeyPath, value: object, expected: str) -> None:
    data = changed(DATA[name], path, value)
    if expected == "":
        assert station_of(data).io.driver == value
        return
    yaml_file = parse_yaml(dump_yaml(data).encode(), path="station.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(yaml_file, StationFile)
    assert expected in caught.value.expected
    assert caught.value.line is not None
    assert caught.value.key.split(".")[0] in data


@pytest.mark.parametrize(
    ("removed", "key", "expected"),
    [
        (("lines", "guard"), "track.sensor_to_guard_ms", "lines.guard is not wired"),
        (("lines", "confirm"), "lines.confirm", "the confirm sensor's line"),
        (("confirm",), "confirm", "earliest_ms and latest_ms"),
        (("track", "tracking"), "track.tracking", "delay, or encoder"),
        (("lines", "trigger"), "lines.trigger", "a mapping with the keys line"),
    ],
)
def test_what_belongs_together(removed: KeyPath, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        station_of(without(DATA[GUARDED], removed))
    assert caught.value.key == key
    assert expected in caught.value.expected


def test_guard_wired_without_a_place() -> None:
    data = DATA[GUARDED]
    for key in ("sensor_to_guard_ms", "guard_tolerance_ms"):
        data = without(data, ("track", key))
    with pytest.raises(ConfigError, match=r"sensor_to_guard_ms is None; expected the guard"):
        station_of(data)


def test_encoder_without_encoder_track() -> None:
    data = changed(DATA[GUARDED], ("encoder",), {"line": "encoder"})
    with pytest.raises(ConfigError, match=r"track.tracking is 'delay'; expected encoder"):
        station_of(data)


@pytest.mark.parametrize(
    ("name", "key", "value", "near"),
    [
        (GUARDED, "track.min_pich_ms", 3, "min_pitch_ms"),
        ("raspberry-pi-5", "track.min_pitch_ms", 3, "min_pitch_counts"),
    ],
)
def test_known_keys_are_those_of_the_chosen_track(
    name: str, key: str, value: int, near: str
) -> None:
    path = tuple(key.split("."))
    expected = expect_refusal(changed(DATA[name], path, value), path).expected
    assert f"did you mean {near}?" in expected
    unit = near.rsplit("_", 1)[-1]
    assert all(known.endswith(unit) for known in expected.split(", ")[1:])


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    data = changed(DATA[GUARDED], ("camera",), {"driver": "folder", "device": "pictures"})
    data["control"] = {"socket": "c.sock", "access": "owner"}
    (tmp_path / "s.yaml").write_text(dump_yaml(data))
    station = load_station(tmp_path / "s.yaml")
    assert station.data_dir == tmp_path / "data"
    assert station.camera.device == str(tmp_path / "pictures")
    assert station.socket_path == tmp_path / "c.sock"
    assert station.control.mode == 0o600


def test_a_socket_path_of_any_length_is_taken(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(TEXTS[GUARDED] + f"control:\n  socket: /{'s' * 200}\n")
    assert load_station(tmp_path / "s.yaml").socket_path == Path("/" + "s" * 200)


def test_an_example_leads_nowhere_below_the_package(tmp_path: Path) -> None:
    for name in example_names():
        station = example_station(name, data_dir=tmp_path / "data")
        package = str(Path(str(EXAMPLES)).parents[1])
        assert station.data_dir == tmp_path / "data"
        assert package not in repr(station)


def faults(name: str, *changes: tuple[KeyPath, object]) -> str:
    data = DATA[name]
    for path, value in changes:
        data = changed(data, path, value)
    return "\n".join(describe_uncovered_faults(station_of(data)))


def test_fully_wired_station_covers_every_fault() -> None:
    assert faults("raspberry-pi-5") == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(("lines", "heartbeat"), None)], "no power or its process is dead"),
        ([(("lines", "line_stop"), None)], "lines.line_stop is not wired"),
        ([(("lines", "confirm"), None), (("confirm",), None)], "lines.confirm is not wired"),
        ([(("alarms", "unconfirmed_rejects"), 0)], "alarms.unconfirmed_rejects is 0"),
        ([(("alarms", "stop_line_on_unconfirmed"), False)], "stop_line_on_unconfirmed is false"),
        ([(("review_action",), "pass")], "review_action is pass"),
        ([(("gate", "max_on_ms"), 500)], "is released after every 500 ms"),
        ([(("io", "driver"), "sim")], "no real gate is driven"),
        ([(("encoder", "max_counts_per_s"), None)], "encoder.max_counts_per_s is not set"),
        (
            [(("camera",), {"driver": "v4l2", "device": "/dev/video0"})],
            "camera.stamp_error_ms is not set",
        ),
    ],
)
def test_each_missing_wire_is_one_uncovered_fault(
    changes: list[tuple[KeyPath, object]], words: str
) -> None:
    found = faults("raspberry-pi-5", *changes)
    assert words in found
    assert found.count("\n") == 0


def test_a_usb_camera_whose_stamp_error_is_stated_is_covered() -> None:
    stated = {"driver": "v4l2", "device": "/dev/video0", "stamp_error_ms": 4}
    assert faults("raspberry-pi-5", (("camera",), stated)) == ""


def test_edges_that_the_kernel_does_not_stamp_are_an_uncovered_fault() -> None:
    station = station_of(DATA["raspberry-pi-5"])
    io = station.io.model_copy(update={"driver": "rpi-gpio"})
    found = describe_uncovered_faults(station.model_copy(update={"io": io}))
    assert ["io.driver is rpi-gpio" in sentence for sentence in found] == [True]


def test_uncovered_faults_of_each_gate() -> None:
    unseen = "A part that the trigger did not detect passes"
    assert unseen in faults("normally-passing")
    assert unseen not in faults(GUARDED)
    assert unseen not in faults("normally-rejecting", (("lines", "heartbeat"), None))
    assert "no power" not in faults("normally-rejecting", (("lines", "heartbeat"), None))
    assert "undetected" in faults("normally-rejecting", (("lines", "line_stopped"), None))


@pytest.mark.parametrize("name", [GUARDED, "normally-passing", "normally-rejecting"])
def test_what_nobody_has_stated_of_a_belt_of_fixed_speed_is_named(name: str) -> None:
    restart, late = ("track", "restart_ms"), ("track", "stop_signal_delay_ms")
    assert "belt" not in faults(name)
    assert "more than 1000 ms to reach its speed" in faults(name, (restart, None))
    assert "track.restart_ms is not set" in faults(name, (restart, None))
    assert "track.stop_signal_delay_ms is not set" in faults(name, (late, None))
    unwired = faults(name, (("lines", "line_stopped"), None))
    assert "The belt can stop, slow down or start undetected" in unwired
    assert "is not set" not in unwired


def test_a_late_stop_signal_needs_a_part_that_is_still_on_its_way() -> None:
    data = changed(DATA["normally-rejecting"], ("track", "min_pitch_ms"), 2_000)
    data = changed(data, ("track", "stop_signal_delay_ms"), 769)
    assert station_of(data).track
    data = changed(data, ("track", "stop_signal_delay_ms"), 770)
    with pytest.raises(ConfigError, match="travel from the lens to the gate"):
        validate(parse_yaml(dump_yaml(data).encode(), path="station.yaml"), StationFile)


def test_station_is_immutable() -> None:
    station = example_station(GUARDED, data_dir=Path("/d"))
    with pytest.raises(ValueError, match="frozen"):
        station.review_action = ReviewAction.PASS
