"""The Edge TPU's failures: real child processes, a real delegate library, no real accelerator."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeinspect.bundle.directory import EDGETPU_MODEL_FILE, load_bundle, write_bundle
from edgeinspect.errors import DriverMissing, HardwareError, InferenceFailed, ModelRefused
from edgeinspect.faults import FaultName
from edgeinspect.hw import edgetpu, edgetpu_engine, model_probe
from edgeinspect.hw.edgetpu import EdgeTpu
from edgeinspect.hw.edgetpu_engine import EdgeTpuEngine, LatencyWatch
from edgeinspect.hw.interpreters import EDGETPU_VARIABLE
from edgeinspect.hw.litert import open_engine, open_model
from edgeinspect.hw.model_probe import Wish
from edgeinspect.ports import TensorSpec
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.settings.station_file import EngineSettings
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.tiny_model import max_pool_model

MS = 1_000_000
SPEC = TensorSpec(name="x", shape=(1, 2, 2, 1), dtype="int8", scale=1.0, zero_point=0)
TILE = np.zeros((2, 2, 1), np.int8)


def compiled_for_show(model: bytes) -> bytes:
    """The compiler's mark behind a model that any runtime can run."""
    return model + edgetpu.OPERATOR


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    """A bundle with a model for either processor."""
    plain = spot_bundle(tmp_path)
    write_bundle(
        tmp_path / "both",
        card=plain.card,
        model=plain.model,
        golden=plain.golden,
        certificate=plain.certificate,
        others={EDGETPU_MODEL_FILE: compiled_for_show(plain.model)},
    )
    return tmp_path


# --- without a library, without a device ------------------------------------------------------


def test_a_compiled_model_is_refused_without_a_delegate() -> None:
    model = max_pool_model(custom_op="edgetpu-custom-op")
    with pytest.raises(ModelRefused, match="compiled for the Edge TPU, but no Edge TPU delegate"):
        open_model(model, source="m.tflite", probe=False)


def test_a_model_that_is_not_compiled_is_refused_with_a_delegate(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="has no model compiled") as caught:
        open_engine(spot_bundle(tmp_path), delegate="edgetpu")
    assert "engine.delegate: none" in caught.value.next_action


def test_a_missing_library_says_what_to_install(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EDGETPU_VARIABLE, "libedgetpu-that-nobody-has.so.1")
    with pytest.raises(DriverMissing, match="cannot be loaded") as caught:
        open_engine(load_bundle(bundle_folder / "both"), delegate="edgetpu")
    assert "libedgetpu1-std" in caught.value.next_action


def test_no_device_is_reported(bundle_folder: Path, fake_edgetpu: Callable[[str], None]) -> None:
    fake_edgetpu("none")
    with pytest.raises(DriverMissing, match=r"for the device usb:1: .*no device of this kind"):
        open_engine(load_bundle(bundle_folder / "both"), delegate="edgetpu", device="usb:1")


# --- with a real library ------------------------------------------------------------------------


def test_the_device_reaches_the_library_in_the_child_and_here(
    bundle_folder: Path,
    fake_edgetpu: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_edgetpu("ok")
    log = tmp_path / "options"
    monkeypatch.setenv("EDGEINSPECT_FAKE_EDGETPU_LOG", str(log))
    engine = open_engine(load_bundle(bundle_folder / "both"), delegate="edgetpu", device="pci:1")
    assert engine.description.split(", ")[1] == "edgetpu delegate"
    engine.close()
    assert log.read_text().splitlines() == ["device=pci:1"] * 2


def test_a_library_that_crashes_takes_only_the_child(
    bundle_folder: Path, fake_edgetpu: Callable[[str], None]
) -> None:
    fake_edgetpu("crash")
    with pytest.raises(HardwareError, match=r"library crashes .*SIGABRT"):
        open_engine(load_bundle(bundle_folder / "both"), delegate="edgetpu")


def test_an_accelerator_that_hangs_takes_only_the_childs_time(
    fake_edgetpu: Callable[[str], None],
) -> None:
    fake_edgetpu("hang")
    with pytest.raises(
        HardwareError, match="The Edge TPU hangs when it runs m while it loads"
    ) as caught:
        model_probe.try_model(
            max_pool_model(), Wish(delegate="edgetpu"), source="m", deadline_s=5.0
        )
    assert "USB 3" in caught.value.next_action


# --- what the station file says ---------------------------------------------------------------


def opened(
    folder: Path, *, when_lost: str = "reject", cycle_ns: int | None = 10_000 * MS
) -> Iterator[dict[str, str]]:
    settings = EngineSettings(delegate="edgetpu", when_lost=when_lost)  # type: ignore[arg-type]
    inspectors = open_inspectors(
        load_bundle(folder / "both"), engine=settings, roi=None, cycle_ns=cycle_ns
    )
    yield {str(name): detail for name, detail in inspectors.trouble().items()}
    inspectors.close()


def test_without_the_accelerator_the_cpu_stands_in_only_if_configured_and_fast_enough(
    bundle_folder: Path, fake_edgetpu: Callable[[str], None]
) -> None:
    fake_edgetpu("none")
    (trouble,) = opened(bundle_folder, when_lost="cpu")
    assert (
        list(trouble) == [FaultName.EDGETPU_LOST]
        and "Inspecting on the CPU" in trouble[FaultName.EDGETPU_LOST]
    )
    for options in ({"when_lost": "reject"}, {"when_lost": "cpu", "cycle_ns": 1}):
        with pytest.raises(DriverMissing, match="no device of this kind"):
            list(opened(bundle_folder, **options))


def test_a_cpu_that_cannot_keep_up_is_named_before_it_is_needed(
    bundle_folder: Path, fake_edgetpu: Callable[[str], None]
) -> None:
    fake_edgetpu("ok")
    assert list(opened(bundle_folder, when_lost="cpu")) == [{}]
    for cycle_ns, words in ((1, "is 0.0 ms"), (None, "is unknown")):
        (trouble,) = opened(bundle_folder, when_lost="cpu", cycle_ns=cycle_ns)
        assert words in trouble[FaultName.EDGETPU_WITHOUT_CPU_FALLBACK]


def test_falling_back_needs_a_model_for_the_cpu(
    tmp_path: Path, fake_edgetpu: Callable[[str], None]
) -> None:
    fake_edgetpu("ok")
    plain = spot_bundle(tmp_path)
    write_bundle(
        tmp_path / "both",
        card=plain.card,
        model=compiled_for_show(plain.model),
        golden=plain.golden,
        certificate=plain.certificate,
    )
    with pytest.raises(ModelRefused, match="no CPU model"):
        list(opened(tmp_path, when_lost="cpu"))


# --- while it runs ------------------------------------------------------------------------------


class Scripted:
    """An engine that answers, fails or hangs as its script says."""

    input_spec = output_spec = SPEC
    description = "scripted"

    def __init__(self, *script: object) -> None:
        self._script = list(script)
        self.runs = 0
        self.closed = False
        self.release = threading.Event()

    def run(self, tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.runs += 1
        answer = self._script.pop(0) if self._script else "ok"
        if answer == "hang":
            self.release.wait(60)
        if isinstance(answer, Exception):
            raise answer
        return list(tiles)

    def close(self) -> None:
        self.closed = True


def failure_of_the_device() -> InferenceFailed:
    error = InferenceFailed("The model failed on a picture")
    error.__cause__ = RuntimeError("USB transfer error")
    return error


def test_a_device_that_goes_is_replaced_for_the_very_part_and_for_good() -> None:
    tpu, cpu = Scripted("ok", failure_of_the_device()), Scripted()
    engine = EdgeTpuEngine(tpu, fallback=cpu, deadline_ns=10_000 * MS)
    for _ in range(4):
        assert len(engine.run([TILE])) == 1
    assert (tpu.runs, cpu.runs) == (2, 3)
    assert "inspecting on the CPU" in engine.trouble()[FaultName.EDGETPU_LOST]
    engine.close()
    assert tpu.closed and cpu.closed


def test_without_a_fallback_every_part_is_refused() -> None:
    tpu = Scripted(failure_of_the_device())
    engine = EdgeTpuEngine(tpu, fallback=None, deadline_ns=10_000 * MS)
    for _ in range(3):
        with pytest.raises(InferenceFailed, match="Edge TPU is lost"):
            engine.run([TILE])
    assert tpu.runs == 1
    assert "every part is rejected" in engine.trouble()[FaultName.EDGETPU_LOST]
    engine.close()


def test_a_device_that_hangs_costs_its_part_and_is_never_waited_for_again() -> None:
    tpu, cpu = Scripted("hang"), Scripted()
    engine = EdgeTpuEngine(tpu, fallback=cpu, deadline_ns=20 * MS)
    with pytest.raises(InferenceFailed, match="does not respond"):
        engine.run([TILE])
    assert "no answer within 20 ms" in engine.trouble()[FaultName.EDGETPU_LOST]
    assert len(engine.run([TILE])) == 1 and tpu.runs == 1
    engine.close()
    assert not tpu.closed and cpu.closed  # to close a hung device would hang
    tpu.release.set()


def test_a_bad_picture_is_not_the_devices_fault() -> None:
    tpu = Scripted(InferenceFailed("Expected a tile of int8"))
    engine = EdgeTpuEngine(tpu, fallback=None, deadline_ns=10_000 * MS)
    with pytest.raises(InferenceFailed, match="a tile"):
        engine.run([TILE])
    assert engine.trouble() == {}
    engine.run([TILE])
    engine.close()


def test_latency_drift_is_named_and_ends() -> None:
    watch = LatencyWatch()
    assert not any(watch.add(10 * MS) for _ in range(60))
    words = [watch.add(16 * MS) for _ in range(20)]
    assert words[-1] == (
        "a part takes 16.0 ms on the Edge TPU; at the start it took 10.0 ms. The Edge TPU may be "
        "too hot"
    )
    assert not words[0]
    assert not [watch.add(10 * MS) for _ in range(20)][-1]


def test_latency_drift_is_a_fault_of_the_engine() -> None:
    times = iter(n * 10 * MS if n < 40 else 400 * MS + n * 30 * MS for n in range(1000))
    engine = EdgeTpuEngine(
        Scripted(), fallback=None, deadline_ns=10_000 * MS, now_mono_ns=lambda: next(times)
    )
    for _ in range(60):
        engine.run([TILE])
    assert list(engine.trouble()) == [FaultName.EDGETPU_SLOW]
    engine.close()


def test_accelerators_are_found_by_id_before_and_after_their_firmware(tmp_path: Path) -> None:
    for place, ids, speed in (
        ("1-1", ("1a6e", "089a"), "480"),
        ("2-1", ("18d1", "9302"), "5000"),
        ("2-2", ("046d", "0825"), "480"),
    ):
        folder = tmp_path / "usb" / place
        folder.mkdir(parents=True)
        for name, word in zip(("idVendor", "idProduct", "speed"), (*ids, speed), strict=True):
            (folder / name).write_text(word + "\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/apex_0").touch()
    found = edgetpu.find_edgetpus(usb=tmp_path / "usb", nodes=tmp_path / "dev")
    assert found == [
        EdgeTpu("pci", str(tmp_path / "dev/apex_0")),
        EdgeTpu("usb", "1-1", 480, "before its firmware"),
        EdgeTpu("usb", "2-1", 5000, "with its firmware"),
    ]
    assert [device.is_slow_port for device in found] == [False, True, False]


def test_the_runner_hands_errors_over() -> None:
    runner = edgetpu_engine.RunnerThread()

    def fail() -> list[np.ndarray]:
        raise KeyError("x")

    assert isinstance(runner.run(fail, timeout_s=60), KeyError)
    blocked = threading.Event()
    with pytest.raises(queue.Empty):
        runner.run(lambda: [np.array(blocked.wait(60))], timeout_s=0.01)
    blocked.set()
    assert runner.stop(60)
