"""The Edge TPU check: documented rules on made-up operators, and real files judged rightly."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import numpy as np
import pytest

from edgeinspect.errors import ModelRefused
from edgeinspect_tools.edgetpu import compiler
from edgeinspect_tools.edgetpu.check import EdgeTpuCheck, check_model
from edgeinspect_tools.edgetpu.compiler import compile_model, parse_report, why_unavailable
from edgeinspect_tools.flatbuffer import parse_tflite, read_tflite
from tests.helpers.made_tflite import SHARED, Op, T, made, run

CORAL = SHARED / "models" / "coral"
needs_coral = pytest.mark.skipif(
    not CORAL.is_dir(), reason="no third-party models: set EDGEINSPECT_SHARED"
)


# --- models made up for one rule ------------------------------------------------------------


def check(tensors: list[T], ops: list[Op]) -> EdgeTpuCheck:
    return check_model(parse_tflite(made(tensors, ops), Path("made.tflite")))


def reason(name: str, tensors: list[T], options: str = "", **fields: int) -> str:
    """What is said of one operator that reads all tensors but the last and writes that."""
    last = len(tensors) - 1
    op = Op(name, list(range(last)), [last], options=options, fields=fields)
    (placement,) = check(tensors, [op]).placements
    assert placement.mapped == (not placement.reason)
    return placement.reason


def ints(*values: int) -> T:
    return T((len(values),), "INT32", np.array(values, np.int32))


WEIGHTS = T((4, 3, 3, 4), "INT8", np.ones((4, 3, 3, 4), np.int8))


@pytest.mark.parametrize(
    ("name", "tensors", "options", "fields", "said"),
    [
        ("ADD", [T(), T(), T()], "AddOptions", {}, ""),
        ("ADD", [T(dtype="FLOAT32")] * 3, "", {}, "works on float32"),
        ("ADD", [T((2, 8, 8, 4))] * 3, "", {}, "only the three innermost"),
        ("ADD", [T((1, 0, 8, 4))] * 3, "", {}, "no fixed size"),
        ("LEAKY_RELU", [T(), T()], "", {}, "not supported"),
        ("CONV_2D", [T(), WEIGHTS, T()], "Conv2DOptions", {}, ""),
        ("CONV_2D", [T(), WEIGHTS, T()], "Conv2DOptions",
         {"dilationWFactor": 2, "dilationHFactor": 1}, "dilation differs"),
        ("CONV_2D", [T(), T(), T()], "Conv2DOptions", {}, "weights are computed"),
        ("CONV_2D", [T(), T((4,), "FLOAT32", np.ones(4, np.float32)), T()], "Conv2DOptions", {},
         "not quantized"),
        ("FULLY_CONNECTED", [T((1, 4)), WEIGHTS, T((1, 4))], "FullyConnectedOptions", {}, ""),
        ("FULLY_CONNECTED", [T((1, 4)), WEIGHTS, T((6, 4))], "FullyConnectedOptions", {},
         "more than one dimension"),
        ("FULLY_CONNECTED", [T((1, 4)), WEIGHTS, T((1, 4))], "FullyConnectedOptions",
         {"weightsFormat": 1}, "default format"),
        ("SOFTMAX", [T((1, 16_000)), T((1, 16_000))], "", {}, ""),
        ("SOFTMAX", [T((1, 16_001)), T((1, 16_001))], "", {}, "more than 16000"),
        ("SOFTMAX", [T((1, 4, 9)), T((1, 4, 9))], "", {}, "more than one dimension"),
        ("MAX_POOL_2D", [T(), T()], "Pool2DOptions", {}, ""),
        ("AVERAGE_POOL_2D", [T(), T()], "Pool2DOptions", {"fusedActivationFunction": 1},
         "fused activation"),
        ("CONCATENATION", [T(), T(), T()], "ConcatenationOptions", {}, ""),
        ("CONCATENATION", [T(), WEIGHTS, T()], "ConcatenationOptions", {}, "is not zero"),
        ("CONCATENATION", [T(), T(), WEIGHTS, T()], "ConcatenationOptions", {}, "more than one"),
        ("MEAN", [T(), ints(1, 2), T((1, 1, 1, 4))], "ReducerOptions", {}, ""),
        ("MEAN", [T(), ints(0), T()], "ReducerOptions", {}, "batch"),
        ("MEAN", [T((1, 8, 8, 6)), ints(-1), T((1, 8, 8, 1))], "", {}, "multiple of 4"),
        ("SUM", [T(), T((1,)), T()], "", {}, "axes are not constant"),
        ("PAD", [T(), ints(0, 0, 1, 1, 1, 1, 0, 0), T()], "", {}, ""),
        ("PAD", [T(), ints(1, 0, 0, 0, 0, 0, 0, 0), T()], "", {}, "pads the batch"),
        ("PACK", [T((1, 4)), T((1, 4)), T((1, 2, 4))], "PackOptions", {"axis": 1}, ""),
        ("PACK", [T((1, 4)), T((1, 4)), T((2, 1, 4))], "PackOptions", {"axis": 0}, "batch"),
        ("SPLIT", [ints(3), T(), T((1, 8, 8, 2))], "", {}, ""),
        ("SPLIT", [ints(0), T(), T()], "", {}, "batch"),
        ("PRELU", [T(), T((1, 1, 4), "INT8", np.ones(4, np.int8)), T()], "", {}, ""),
        ("PRELU", [T(), T((8, 8, 4), "INT8", np.ones((8, 8, 4), np.int8)), T()], "", {}, "alpha"),
        ("STRIDED_SLICE", [T(), ints(0), ints(1), ints(1), T()], "StridedSliceOptions", {}, ""),
        ("STRIDED_SLICE", [T(), ints(0), ints(1), ints(2), T()], "StridedSliceOptions", {},
         "strides"),
        ("STRIDED_SLICE", [T(), ints(0), ints(1), ints(1), T()], "StridedSliceOptions",
         {"newAxisMask": 1}, "new axis"),
    ],
)  # fmt: skip
def test_the_documented_rules(
    name: str, tensors: list[T], options: str, fields: dict[str, int], said: str
) -> None:
    found = reason(name, tensors, options, **fields)
    assert said in found if said else not found


def test_after_a_break_everything_stays_on_the_cpu() -> None:
    ops = [
        Op("RELU", [0], [1]),
        Op("LEAKY_RELU", [1], [2]),
        Op("RELU", [2], [3]),
        Op("ADD", [3, 1], [4]),
    ]
    found = check([T() for _ in range(5)], ops)
    assert [placement.mapped for placement in found.placements] == [True, False, False, False]
    assert "comes after LEAKY_RELU (operator 1)" in found.placements[3].reason
    assert (found.mapped, found.on_cpu) == (1, 3)


def test_a_branch_beside_the_break_is_mapped() -> None:
    ops = [Op("RELU", [0], [1]), Op("LEAKY_RELU", [1], [2]), Op("TANH", [1], [3])]
    found = check([T() for _ in range(4)], ops)
    assert [placement.mapped for placement in found.placements] == [True, False, True]


def test_quantizing_a_float_input_first_breaks_nothing() -> None:
    ops = [Op("QUANTIZE", [0], [1]), Op("RELU", [1], [2]), Op("DEQUANTIZE", [2], [3])]
    found = check([T(dtype="FLOAT32"), T(), T(), T(dtype="FLOAT32")], ops)
    assert [placement.mapped for placement in found.placements] == [False, True, False]


def test_cautions() -> None:
    big = T((1, 512, 512, 1))
    ops = [Op("RESHAPE", [0], [1]), Op("CONV_2D", [1, 2], [3], version=6)]
    open_input = T((1, 512, 512, 1), signature=(-1, 512, 512, 1))
    found = check([open_input, big, WEIGHTS, T()], ops)
    text = " ".join(found.cautions)
    assert "t0 states an open size" in text
    assert "CONV_2D has version 6" in text
    assert "RESHAPE: a reshape of this size" in text
    assert not check([T(), T()], [Op("RESHAPE", [0], [1])]).cautions


def test_parameters_are_summed_once_and_held_against_the_chip() -> None:
    ops = [Op("CONV_2D", [0, 1], [2]), Op("CONV_2D", [2, 1], [3])]
    assert check([T(), WEIGHTS, T(), T()], ops).parameter_bytes == 4 * 3 * 3 * 4
    large = T((9, 1024, 1024), "INT8", np.zeros(9 << 20, np.int8))
    found = check([T(), large, T()], [Op("CONV_2D", [0, 1], [2])])
    assert not found.fits_on_chip


def test_a_damaged_file_is_refused_at_every_length() -> None:
    data = made([T(), WEIGHTS, T()], [Op("CONV_2D", [0, 1], [2], options="Conv2DOptions")])
    for length in range(0, len(data), 7):
        try:
            parse_tflite(data[:length], Path("cut.tflite"))
        except ModelRefused as error:
            assert "cut.tflite" in str(error)


def test_flipped_bytes_never_do_more_than_refuse() -> None:
    data = made([T(), WEIGHTS, T()], [Op("CONV_2D", [0, 1], [2], options="Conv2DOptions")])
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(8, len(data), 4):
            damaged[at] = rng.integers(256)
        try:
            parse_tflite(bytes(damaged), Path("damaged.tflite"))
        except ModelRefused:
            refused += 1
    assert refused > 50


# --- real files -----------------------------------------------------------------------------


@needs_coral
def test_the_quantized_mobilenet_is_mapped_whole() -> None:
    model = read_tflite(CORAL / "mobilenet_v1_0.25_128_quant.tflite")
    found = check_model(model)
    assert (found.compiled, found.mapped, found.on_cpu) == (False, 31, 0)
    assert 400_000 < found.parameter_bytes < 550_000
    assert model.inputs[0].shape == (1, 128, 128, 3)


@needs_coral
def test_a_compiled_model_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    path = CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    assert run("edgetpu", str(path)) == 0
    assert "compiled for the Edge TPU already" in " ".join(capsys.readouterr().out.split())


@needs_coral
def test_the_lstm_is_mapped_for_it_is_unidirectional() -> None:
    found = check_model(read_tflite(CORAL / "keras_lstm_mnist_ptq.tflite"))
    assert found.on_cpu == 0
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in {p.operator for p in found.placements}


@needs_coral
def test_a_custom_operator_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("edgetpu", str(CORAL / "model_invoking_error.tflite"), "--json") == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["operators"] == [
        {"index": 0, "operator": "fake-op-double", "mapped": False, "reason": "a custom operator"}
    ]


def test_a_float_model_is_judged_and_the_budget_counts(tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(made([T(dtype="FLOAT32")] * 2, [Op("RELU", [0], [1])]))
    assert run("edgetpu", str(path)) == 1
    assert run("edgetpu", str(path), "--max-on-cpu", "1") == 0
    path.write_text("not a model")
    assert run("edgetpu", str(path)) == 5
    assert run("edgetpu", str(tmp_path / "none.tflite")) == 5


# --- the compiler ---------------------------------------------------------------------------

REPORT = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 577 ms.

Input model: net_int8.tflite
Input size: 8.58MiB
Output model: net_int8_edgetpu.tflite
Output size: 8.70MiB
On-chip memory used for caching model parameters: 3.50KiB
On-chip memory remaining for caching model parameters: 7.67MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 36
Operation log: net_int8_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of
the model will instead run on the CPU, which is slower.
Number of operations that will run on Edge TPU: 2
Number of operations that will run on CPU: 34

Operator                       Count      Status

MAX_POOL_2D                    6          More than one subgraph is not supported
QUANTIZE                       2          Operation is otherwise supported, but not mapped
QUANTIZE                       1          Mapped to Edge TPU
CONV_2D                        1          Mapped to Edge TPU
CONV_2D                        12         More than one subgraph is not supported
LEAKY_RELU                     11         Operation not supported
CONCATENATION                  3          More than one subgraph is not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def test_the_compilers_report_is_read() -> None:
    report = parse_report(REPORT)
    assert report.version == "16.0.384591198"
    assert (report.mapped, report.on_cpu) == (2, 34)
    assert (report.on_chip_bytes, report.streamed_bytes) == (3584, 0)
    assert report.rows[5].operator == "LEAKY_RELU"
    assert parse_report("nonsense").rows == ()


@pytest.fixture
def fake_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of the compiler's name that prints what it is told and writes its output."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / compiler.PROGRAM
    (folder / "report").write_text(REPORT)
    program.write_text(
        f'#!/bin/sh\necho compiled > "$3/net_edgetpu.tflite"\ncat "{folder}/report"\n'
        f'exit $(cat "{folder}/code" 2>/dev/null || echo 0)\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_the_compilers_word_counts(
    fake_compiler: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "net.tflite", tmp_path / "out.tflite"
    model.write_bytes(made([T(), T()], [Op("RELU", [0], [1])]))
    assert why_unavailable() == ""
    assert run("edgetpu", str(model), "--compile-to", str(out), "--json") == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["on_cpu"], summary["compiler"]["on_cpu"]) == (0, 34)
    assert out.read_text() == "compiled\n"
    assert run("edgetpu", str(model), "--max-on-cpu", "34") == 0


def test_a_compiler_that_fails_is_quoted(fake_compiler: Path, tmp_path: Path) -> None:
    (fake_compiler / "report").write_text("Internal compiler error. Aborting!\n")
    (fake_compiler / "code").write_text("1")
    with pytest.raises(ModelRefused, match="Internal compiler error"):
        compile_model(tmp_path / "net.tflite")


@pytest.mark.parametrize(
    ("machine", "said"),
    [("aarch64", "not available for ARM"), ("armv7l", "not available for ARM"),
     ("x86_64", "is not installed")],
)  # fmt: skip
def test_where_there_is_no_compiler(
    machine: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert said in why_unavailable({"PATH": ""})
