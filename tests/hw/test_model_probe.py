"""Models that kill, hang or bloat the process that opens them: only a child meets them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeinspect
from edgeinspect.bundle.directory import load_bundle, sha256_of
from edgeinspect.errors import HardwareError, ModelRefused
from edgeinspect.hw import model_probe
from edgeinspect.hw.arrangement import Arrangement
from edgeinspect.hw.litert import open_engine, open_model
from edgeinspect.hw.model_probe import MAX_OUTPUT_BYTES, Wish, try_bare, try_model
from edgeinspect.hw.runtime_library import load_library
from tests.helpers.absurd_models import ABSURD, edited
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.tiny_model import max_pool_model

STATION = Path(edgeinspect.__file__).parent
CPU, TPU = Wish(), Wish(delegate="edgetpu")
ENDLESS = "a loop that never ends"


@pytest.fixture(autouse=True)
def nothing_passed_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_probe, "_passed", {})


@pytest.mark.parametrize("what", [name for name in ABSURD if name != ENDLESS])
def test_an_absurd_model_is_refused_in_one_sentence(what: str) -> None:
    with pytest.raises(ModelRefused) as caught:
        open_model(edited(ABSURD[what]), source="m.tflite", threads=2)
    assert caught.value.exit_code == 5
    assert caught.value.message.startswith("m.tflite ") and "\n" not in str(caught.value)


def test_a_model_that_crashes_the_interpreter_is_reported_with_signal_and_step() -> None:
    crashing = edited(ABSURD["a loop whose body is the graph itself"])
    words = r"^m is damaged: it crashes the interpreter \(SIG\w+\) while it loads\. Fetch"
    with pytest.raises(ModelRefused, match=words):
        open_model(crashing, source="m")
    with pytest.raises(ModelRefused, match=r"^m is damaged: it crashes"):
        try_bare(crashing, source="m")


def test_a_model_that_never_ends_is_reported_with_its_time() -> None:
    with pytest.raises(
        ModelRefused, match=r"^m hangs while .*: the step had not finished after 8 s\."
    ):
        try_model(edited(ABSURD[ENDLESS]), CPU, source="m", deadline_s=8.0)


def test_a_trial_that_takes_too_long_in_all_names_that_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_probe, "LONGEST_TRIAL_S", 1.0)
    words = r"^m hangs .*: the whole trial had not finished after 1 s\."
    with pytest.raises(ModelRefused, match=words):
        try_model(edited(ABSURD[ENDLESS]), CPU, source="m", deadline_s=90.0)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("flood", "m prints more than 256 KiB of messages while it loads"),
        ("balloon", r"m needs more than 512 MiB of memory while it loads"),
        ("leave", "m ended its trial without a result"),
    ],
)
def test_what_else_a_child_can_do_is_refused(
    fake_edgetpu: Callable[[str], None], mode: str, words: str
) -> None:
    fake_edgetpu(mode)
    with pytest.raises(ModelRefused, match=words) as caught:
        try_model(max_pool_model(), TPU, source="m")
    assert "do not inspect with this copy" in caught.value.next_action


def test_a_model_that_the_system_killed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the kernel when memory runs out."""
    program = f"#!/bin/sh\nkill -{signal.SIGKILL.value} $$\n"
    with pytest.raises(
        ModelRefused, match=r"m was killed \(SIGKILL\), probably because memory ran out"
    ):
        _with_python(monkeypatch, program)


def test_a_child_that_cannot_begin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelRefused, match=r"m could not be tried: no such module\."):
        _with_python(monkeypatch, "#!/bin/sh\necho no such module >&2\nexit 1\n")


def _with_python(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    descriptor = os.memfd_create("python", 0)
    os.write(descriptor, program.encode())
    monkeypatch.setattr(sys, "executable", f"/proc/{os.getpid()}/fd/{descriptor}")
    try:
        try_model(max_pool_model(), CPU, source="m")
    finally:
        os.close(descriptor)


def test_the_child_is_confined(
    fake_edgetpu: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_edgetpu("look")
    log = tmp_path / "log"
    monkeypatch.setenv("EDGEINSPECT_FAKE_EDGETPU_LOG", str(log))
    monkeypatch.setenv("SECRET", "of nobody's business")
    try_model(max_pool_model(), TPU, source="m")
    found = dict(line.split("=") for line in log.read_text().splitlines())
    assert int(found["data"]) == (512 << 20) + 4 * len(max_pool_model())
    assert found | {"data": ""} == {
        "dies_with_parent_by": str(signal.SIGKILL.value),
        "own_group": "1",
        "core": "0",
        "file": str(MAX_OUTPUT_BYTES),
        "data": "",
        "seconds": "1800",
        "secret": "0",
    }


def test_the_child_dies_with_its_parent(
    fake_edgetpu: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_edgetpu("hang")
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    monkeypatch.setenv("EDGEINSPECT_FAKE_EDGETPU_LOG", str(pipe))
    model = tmp_path / "m.tflite"
    model.write_bytes(max_pool_model())
    program = (
        "import sys; from pathlib import Path; from edgeinspect.hw.model_probe import *;"
        "try_model(Path(sys.argv[1]).read_bytes(), Wish(delegate='edgetpu'), source='m')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, model])
    written = ""
    while "\n" not in written:  # a writer may open the pipe and close it again first
        written += pipe.read_text()
    child = os.pidfd_open(int(written.split("=")[1]))
    parent.kill()
    parent.wait()
    poll = select.poll()
    poll.register(child, select.POLLIN)
    assert poll.poll(60_000), "the child outlives its parent"
    os.close(child)


def test_the_parent_opens_what_the_child_has_run() -> None:
    wish = Wish(arrangement="interpreters", cores=3, several=True, tiles_at_once=2)
    passed = try_model(max_pool_model(), wish, source="m")
    assert passed.arrangement == Arrangement(interpreters=3)
    engine = open_model(max_pool_model(), source="m", arrangement="threads", threads=2)
    assert engine.arrangement == Arrangement(threads=2)
    engine.close()


def count_children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    began: list[str] = []
    original = model_probe._child

    def child(*arguments: object) -> object:
        began.append("child")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model_probe, "_child", child)
    return began


def test_what_passed_is_tried_again_only_where_something_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = count_children(monkeypatch)
    model = max_pool_model()
    for wish, golden_name in ((CPU, ""), (Wish(cores=2, several=True), ""), (CPU, "other")):
        for _ in range(2):
            try_model(model, wish, source="m", golden_name=golden_name)
    try_model(max_pool_model(height=32), CPU, source="m")
    assert len(began) == 4


def test_an_accelerator_is_tried_every_time(
    monkeypatch: pytest.MonkeyPatch, fake_edgetpu: Callable[[str], None]
) -> None:
    fake_edgetpu("ok")
    try_model(max_pool_model(), TPU, source="m")
    fake_edgetpu("crash")
    with pytest.raises(HardwareError, match="crashes when it runs m"):
        try_model(max_pool_model(), TPU, source="m")


def test_another_library_than_the_childs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    library = load_library("auto")
    older = type(library)(
        name=library.name,
        version="0.1",
        verifies_structure=True,
        interpreter=library.interpreter,
        resolver_type=library.resolver_type,
        load_delegate=library.load_delegate,
    )
    monkeypatch.setattr(model_probe, "load_library", lambda _: older)
    with pytest.raises(ModelRefused, match=r"m was tried with .*, but litert 0\.1 is loaded here"):
        try_model(max_pool_model(), CPU, source="m")


def test_the_golden_tiles_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the child keeps its job."""
    kept = tmp_path / "job"
    bundle = spot_bundle(tmp_path)
    keep = tmp_path / "python"
    keep.write_text(f"#!/bin/sh\ncat > {kept}\nexit 3\n")
    keep.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(keep))
    with pytest.raises(ModelRefused):
        open_engine(bundle, threads=1)
    head, _, rest = kept.read_bytes().partition(b"\n")
    job = json.loads(head)
    assert sha256_of(rest[: job["model_bytes"]]) == sha256_of(bundle.model)
    tiles = np.frombuffer(rest[job["model_bytes"] :], np.int8)
    assert tiles.size > 0 and tiles.size % (16 * 16) == 0
    assert tiles.min() < 0 < tiles.max()


def test_bundles_are_tried_with_their_golden_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(spot_bundle(tmp_path).directory)
    monkeypatch.setattr(model_probe, "_passed", {})  # making the bundle tries its model as well
    open_engine(bundle, threads=1).close()
    ((_, _, golden_name),) = model_probe._passed
    assert golden_name == bundle.digest


def test_a_float_model_passes_the_bare_trial_and_nonsense_does_too() -> None:
    try_bare(max_pool_model(dtype="float32"), source="m")
    try_bare(b"\x1c\0\0\0TFL3" + b"\0" * 64, source="m")


def test_the_child_begins_without_the_validators() -> None:
    """They take longer to load than the inference library, and the station waits for it."""
    program = (
        "import sys, edgeinspect.hw.model_child, edgeinspect.hw.litert_engine;"
        "print(sorted({'pydantic', 'cv2', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_nothing_else_in_the_station_opens_an_interpreter() -> None:
    found: dict[str, set[str]] = {"interpreter": set(), "loader": set(), "untried": set()}
    for path in STATION.rglob("*.py"):
        name, text = path.relative_to(STATION).as_posix(), path.read_text()
        if re.search(r"[iI]nterpreter\(\n? *(\*|model)", text):
            found["interpreter"].add(name)
        if re.search(r"\bLoader\(\n? *model", text):
            found["loader"].add(name)
        if "probe=False" in text:
            found["untried"].add(name)
    assert found == {
        "interpreter": {"hw/interpreters.py", "hw/model_child.py"},
        "loader": {"hw/litert.py", "hw/model_child.py"},
        "untried": set(),
    }
