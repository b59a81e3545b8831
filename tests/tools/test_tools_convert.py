"""Conversion: what a source is, the bundle's layout, children with deadlines, real converters."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeinspect.errors import DriverMissing, ModelRefused, UsageError
from edgeinspect_tools.convert import environment as environment_module
from edgeinspect_tools.convert import sources
from edgeinspect_tools.convert.contract import normalised
from edgeinspect_tools.convert.convert import Converted, ConvertOptions, convert_model, run_float
from edgeinspect_tools.convert.environment import Ended, Environment, default_folder, run_child
from edgeinspect_tools.convert.sources import CONVERTERS, Converter, converter_for
from edgeinspect_tools.flatbuffer import parse_tflite
from edgeinspect_tools.quantize.int8_candidates import Int8Method
from edgeinspect_tools.quantize.steps import quantize_pictures
from tests.helpers.made_tflite import SHARED, Op, T, made, run

SOURCE = Path("source.tflite")
ENVIRONMENTS = os.environ.get("EDGEINSPECT_CONVERTERS", "")
needs_environments = pytest.mark.skipif(
    not ENVIRONMENTS, reason="set EDGEINSPECT_CONVERTERS to a folder for converters' environments"
)


def float_model(shape: tuple[int, ...] = (1, 8, 8, 3), *, operator: str = "RELU") -> bytes:
    tensors = [T(shape, "FLOAT32", signature=(-1, *shape[1:])), T(shape, "FLOAT32")]
    return made(tensors, [Op(operator, [0], [1])])


# --- what a source is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.keras", "keras"),
        ("m.pt2", "pytorch"),
        ("m.onnx", "onnx"),
        ("m.tflite", "tflite"),
        ("m.py::make", "pytorch"),
    ],
)
def test_kinds_by_name(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name.partition("::")[0]).touch()
    assert converter_for(str(tmp_path / name)).kind == kind


def test_a_saved_model_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"without saved_model\.pb"):
        converter_for(str(tmp_path))
    (tmp_path / "saved_model.pb").touch()
    assert converter_for(str(tmp_path)).kind == "savedmodel"


@pytest.mark.parametrize(
    ("name", "said"),
    [("m.pt", "torch.export.save"), ("m.xyz", "not a kind of model that can be converted")],
)
def test_what_is_no_source(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=said):
        converter_for(str(tmp_path / name))
    with pytest.raises(UsageError, match="does not exist"):
        converter_for(str(tmp_path / "nothing.keras"))


# --- the bundle's layout --------------------------------------------------------------------


def test_names_and_batch_are_normalised() -> None:
    model = parse_tflite(normalised(float_model(), source=SOURCE), SOURCE)
    assert [model.inputs[0].name, model.outputs[0].name] == ["input", "output"]
    assert model.inputs[0].signature == ()
    pictures = np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 1, 8, 8, 3)
    found = run_float(normalised(float_model(), source=SOURCE), pictures)
    assert np.array_equal(found, np.maximum(pictures, 0))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (float_model((2, 8, 8, 3)), "takes 2 x 8 x 8 x 3"),
        (float_model((1, 3, 8, 8)), "channels first"),
        (float_model((1, 8, 8, 4)), "1 or 3 channels"),
        (float_model((1, 8)), "takes 1 x 8;"),
        (made([T(), T()], [Op("RELU", [0], [1])]), "quantized already: its input is int8"),
        (made([T((1, 8, 8, 3), "INT32")] * 2, [Op("RELU", [0], [1])]), "int32; float32"),
        (
            made([T((1, 8, 8, 3), "FLOAT32"), T((1, 8, 8), "FLOAT32")], [Op("RELU", [0], [1])]),
            "gives 1 x 8 x 8",
        ),
        (
            made(
                [T((1, 8, 8, 3), "FLOAT32")] * 2,
                [Op("CUSTOM", [0], [1], custom="edgetpu-custom-op")],
            ),
            "compiled for the Edge TPU",
        ),
    ],
)
def test_what_the_station_could_not_use_is_refused(model: bytes, said: str) -> None:
    with pytest.raises(ModelRefused, match=said):
        normalised(model, source=SOURCE)


def test_a_float_tflite_is_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "m.tflite", tmp_path / "out.tflite"
    source.write_bytes(float_model())
    assert run("convert", str(source), "--out", str(out), "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["kind"], summary["input_shape"]) == ("tflite", [1, 8, 8, 3])
    assert parse_tflite(out.read_bytes(), out).inputs[0].name == "input"
    source.write_bytes(b"nothing")
    out.unlink()
    assert run("convert", str(source), "--out", str(out)) == 5
    assert not out.exists()


@pytest.mark.parametrize("shape", ["1,2,3", "2,8,8,3", "1,8,8,4", "a,b,c,d"])
def test_a_bad_input_shape(tmp_path: Path, shape: str) -> None:
    (tmp_path / "m.tflite").write_bytes(float_model())
    out = str(tmp_path / "o")
    assert run("convert", str(tmp_path / "m.tflite"), "--out", out, "--input-shape", shape) == 2


# --- children -------------------------------------------------------------------------------


def test_a_child_is_ended_at_its_deadline_with_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    ended = run_child([sys.executable, "-c", "while True: pass"], deadline_s=0.5)
    assert ended.code is None
    assert "stopped after 0.5 s" in ended.last_words
    assert run_child([sys.executable, "-c", code], deadline_s=60).code == 0


FAKE = """
import json, sys
import numpy as np
request = json.load(open(sys.argv[1]))
how = open(request["source"]).read()
if how == "hangs":
    while True: pass
if how == "refuses":
    sys.stderr.write("noise\\nrefused: It has 2 inputs.\\n"); sys.exit(3)
if how == "fails":
    sys.exit("Traceback\\nValueError: no such operator")
if request["do"] == "convert":
    open(request["out"], "wb").write(open(request["weights"], "rb").read())
else:
    x = np.load(request["inputs"])
    y = np.maximum(x, 0)
    if how == "differs": y[0] += 0.1
    if how == "other shape": y = y[:, :, :4]
    if how == "not finite": y[0] = np.nan
    np.save(request["outputs"], y)
"""


def of_kind(kind: str) -> Converter:
    return next(each for each in CONVERTERS if each.kind == kind)


def replace_keras(monkeypatch: pytest.MonkeyPatch, *, script: str, module: str) -> None:
    """Put another converter for .keras files in front of the table."""
    fake = Converter(
        kind="keras", description="", suffixes=(".keras",), script=script, module=module
    )
    monkeypatch.setattr(sources, "CONVERTERS", (fake, *CONVERTERS))


def convert_with_fake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, *, deadline_s: float = 60
) -> Converted:
    script, model = tmp_path / "fake.py", tmp_path / "model.tflite"
    script.write_text(FAKE)
    model.write_bytes(float_model())
    source = tmp_path / "source.keras"
    source.write_text(how)
    replace_keras(monkeypatch, script=str(script), module="numpy")
    options = ConvertOptions(weights=model, deadline_s=deadline_s)
    return convert_model(str(source), options=options)


def test_a_conversion_is_compared_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = convert_with_fake(tmp_path, monkeypatch, "works")
    assert (converted.compared, converted.error, converted.same_top) == (4, 0.0, 1.0)
    assert converted.input_shape == converted.output_shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("refuses", r"source\.keras: It has 2 inputs"),
        ("fails", "could not be converted: .*no such operator"),
        ("differs", r"differ by \d"),
        ("other shape", "its conversion"),
        ("not finite", "not finite"),
    ],
)
def test_a_conversion_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    with pytest.raises(ModelRefused, match=said):
        convert_with_fake(tmp_path, monkeypatch, how)


def test_a_converter_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelRefused, match="within 1 s"):
        convert_with_fake(tmp_path, monkeypatch, "hangs", deadline_s=1)


def test_a_missing_library_is_answered_with_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "m.keras"
    source.touch()
    replace_keras(monkeypatch, script="from_keras.py", module="not_there")
    with pytest.raises(DriverMissing, match="pip install edgeinspect-tools"):
        convert_model(str(source))


# --- environments ---------------------------------------------------------------------------


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Children that do what venv and pip would leave behind, and are noted."""
    called: list[Sequence[str]] = []

    def fake(command: Sequence[str], *, deadline_s: float) -> Ended:
        assert deadline_s > 0
        called.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        failed = "no-such-thing" in command
        return Ended(int(failed), "pip==1\n", "ERROR: no match\n" if failed else "")

    monkeypatch.setattr(environment_module, "run_child", fake)
    return called


def test_an_environment_is_made_once_and_again_after_an_interruption(
    tmp_path: Path, no_programs: list[Sequence[str]]
) -> None:
    said: list[str] = []
    environment = Environment("try", ("pip",), tmp_path)
    assert not environment.is_ready()
    environment.path.mkdir(parents=True)
    (environment.path / "half").touch()
    environment.make(say=said.append)
    assert environment.is_ready()
    assert not (environment.path / "half").exists()
    environment.make(say=said.append)
    assert len(said) == 1
    assert str(environment.path) in said[0]
    assert Environment("try", ("pip>=1",), tmp_path).path != environment.path


def test_an_environment_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, no_programs: list[Sequence[str]]
) -> None:
    environment = Environment("try", ("no-such-thing",), tmp_path)
    with pytest.raises(DriverMissing, match="ERROR: no match"):
        environment.make()
    assert "--only-binary=:all:" in no_programs[-1]
    assert not environment.path.exists()


@pytest.mark.slow
def test_a_real_environment(tmp_path: Path) -> None:
    environment = Environment("try", ("pip",), tmp_path)
    environment.make()
    ended = run_child([str(environment.python), "-c", "import pip"], deadline_s=60)
    assert (environment.is_ready(), ended.code) == (True, 0)


def test_environments_lie_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "edgeinspect" / "converters"


# --- the real converters --------------------------------------------------------------------

KERAS = """
import sys, keras
keras.utils.set_random_seed(1)
x = keras.Input((None, None, 1))
y = keras.layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="relu")(x)
y = keras.layers.BatchNormalization()(y)
y = keras.layers.Conv2DTranspose(8, 2, strides=2)(y)
model = keras.Model(x, keras.layers.Conv2D(3, 1)(y))
model.save(sys.argv[1] + "/m.keras")
model.export(sys.argv[1] + "/saved", verbose=False)
"""

PYTORCH = """
import sys, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.f = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.Hardswish(),
            torch.nn.Conv2d(8, 8, 3, 1, 1, groups=8), torch.nn.ReLU6())
    def forward(self, x):
        return torch.nn.functional.interpolate(self.f(x), scale_factor=2, mode="bilinear")
def make():
    torch.manual_seed(0)
    return Net()
if __name__ == "__main__":
    program = torch.export.export(make().eval(), (torch.zeros(1, 3, 32, 32),))
    torch.export.save(program, sys.argv[1] + "/m.pt2")
"""

ONNX = """
import sys
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper as n
r = np.random.default_rng(0)
w = lambda name, *shape: n.from_array((r.normal(size=shape) * 0.3).astype("f"), name)
nodes = [
    h.make_node("Conv", ["x", "w1", "b1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
    h.make_node("Relu", ["a"], ["b"]),
    h.make_node("Conv", ["b", "w2", "b2"], ["c"], group=8, pads=[1, 1, 1, 1]),
    h.make_node("GlobalAveragePool", ["c"], ["d"]), h.make_node("Flatten", ["d"], ["e"]),
    h.make_node("Gemm", ["e", "w3", "b3"], ["y"], transB=1)]
graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["N", 3, 32, 32])],
    [h.make_tensor_value_info("y", T.FLOAT, ["N", 5])],
    [w("w1", 8, 3, 3, 3), w("b1", 8), w("w2", 8, 1, 3, 3), w("b2", 8), w("w3", 5, 8), w("b3", 5)])
onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9),
          sys.argv[1] + "/m.onnx")
"""


def make_source(tmp_path: Path, code: str, python: str) -> None:
    script = tmp_path / "make_source.py"
    script.write_text(code)
    ended = run_child([python, str(script), str(tmp_path)], deadline_s=280)
    assert ended.code == 0, ended.stderr


def check_int8_agrees(model: bytes, folder: Path, *, activation: str) -> None:
    """Quantized on half of some real pictures, its top outputs on the rest are the float ones."""
    files = sorted((SHARED / "data" / "magnetic_tile").glob("MT_*/Imgs/*.jpg"))[::40]
    if not files:
        pytest.skip(f"{SHARED} has no magnetic tiles: set EDGEINSPECT_SHARED")
    folder.mkdir()
    for number, file in enumerate(files):
        shutil.copy(file, folder / f"{number:03d}{file.suffix}")
    made = quantize_pictures(
        model,
        folder,
        methods=[Int8Method.TRUE, Int8Method.ROBUST],
        mean=127.5,
        std=127.5,
        activation=activation,
    )
    assert made.gap.pictures == len(files) // 2
    assert made.gap.agreement >= 0.9
    assert made.gap.mean_error < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.keras", "saved"])
def test_keras_and_saved_models(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tensorflow")
    make_source(tmp_path, KERAS, sys.executable)
    with pytest.raises(ModelRefused, match="--input-shape"):
        convert_model(str(tmp_path / name))
    options = ConvertOptions(input_shape=(1, 32, 48, 1))
    converted = convert_model(str(tmp_path / name), options=options)
    assert converted.output_shape == (1, 32, 48, 3)
    assert converted.error < 1e-5
    check_int8_agrees(converted.model, tmp_path / "tiles", activation="sigmoid")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_environments
@pytest.mark.parametrize("name", ["m.pt2", "make_source.py::make"])
def test_pytorch(tmp_path: Path, name: str) -> None:
    folder = Path(ENVIRONMENTS).resolve()
    environment = Environment("pytorch", of_kind("pytorch").requirements, folder)
    environment.make()
    make_source(tmp_path, PYTORCH, str(environment.python))
    shape = (1, 32, 32, 3) if "::" in name else None
    options = ConvertOptions(input_shape=shape, env_dir=folder)
    converted = convert_model(str(tmp_path / name), options=options)
    assert (converted.input_shape, converted.output_shape) == ((1, 32, 32, 3), (1, 32, 32, 8))
    assert converted.error < 1e-4
    check_int8_agrees(converted.model, tmp_path / "tiles", activation="sigmoid")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_environments
def test_onnx(tmp_path: Path) -> None:
    folder = Path(ENVIRONMENTS).resolve()
    environment = Environment("onnx", of_kind("onnx").requirements, folder)
    environment.make()
    make_source(tmp_path, ONNX, str(environment.python))
    converted = convert_model(str(tmp_path / "m.onnx"), options=ConvertOptions(env_dir=folder))
    assert (converted.input_shape, converted.output_shape) == ((1, 32, 32, 3), (1, 5))
    assert converted.error < 1e-4
    check_int8_agrees(converted.model, tmp_path / "tiles", activation="softmax")


def test_a_published_float_model(tmp_path: Path) -> None:
    source = SHARED / "models" / "mlperf_tiny" / "vww_96_float.tflite"
    if not source.is_file():
        pytest.skip(f"{source} is not there: set EDGEINSPECT_SHARED")
    converted = convert_model(str(source))
    rng = np.random.default_rng(3)
    pictures = rng.uniform(0, 1, (4, 1, 96, 96, 3)).astype(np.float32)
    assert np.array_equal(
        run_float(converted.model, pictures), run_float(source.read_bytes(), pictures)
    )
