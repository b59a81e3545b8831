"""``edgeinspect-tools edgetpu``: which operators of a model an Edge TPU would run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeinspect.cli.options import ANY_PATH, FILE
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table

if TYPE_CHECKING:
    from edgeinspect_tools.edgetpu.check import EdgeTpuCheck
    from edgeinspect_tools.edgetpu.compiler import CompilerReport

EXAMPLES = """
edgeinspect-tools edgetpu model.tflite
edgeinspect-tools edgetpu model.tflite --max-on-cpu 2      two operators on the CPU are fine
edgeinspect-tools edgetpu model.tflite --compile-to model_edgetpu.tflite
"""


@click.command(epilog=examples(EXAMPLES))
@click.argument("model", type=ANY_PATH)
@click.option(
    "--max-on-cpu",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Accept this many operators on the CPU.",
)
@click.option(
    "--compile-to",
    type=FILE,
    help="Write the compiled model to this file; needs edgetpu_compiler.",
)
@json_option
def command(model: Path, max_on_cpu: int, compile_to: Path | None, as_json: bool) -> int:
    """Check a .tflite MODEL against the Edge TPU's documented rules.

    If edgetpu_compiler is installed, its result decides. The exit code is 1 if more operators than
    allowed would run on the CPU.
    """
    from edgeinspect.errors import DriverMissing
    from edgeinspect_tools.edgetpu.check import check_model
    from edgeinspect_tools.edgetpu.compiler import compile_model, why_unavailable
    from edgeinspect_tools.flatbuffer import read_tflite

    check = check_model(read_tflite(model))
    unavailable = "" if check.compiled else why_unavailable()
    if compile_to is not None and unavailable:
        raise DriverMissing(unavailable)
    report = None
    if not check.compiled and not unavailable:
        report = compile_model(model, out=compile_to)
    on_cpu = check.on_cpu if report is None else report.on_cpu
    if as_json:
        print_json(_summary(model, check, report, unavailable, good=on_cpu <= max_on_cpu))
    else:
        _print_report(model, check, report, unavailable)
    return 0 if on_cpu <= max_on_cpu else 1


def _summary(
    model: Path, check: EdgeTpuCheck, report: CompilerReport | None, unavailable: str, *, good: bool
) -> dict[str, object]:
    return {
        "file": str(model),
        "good": good,
        "compiled": check.compiled,
        "operators": [
            {"index": p.index, "operator": p.operator, "mapped": p.mapped, "reason": p.reason}
            for p in check.placements
        ],
        "mapped": check.mapped,
        "on_cpu": check.on_cpu,
        "parameter_bytes": check.parameter_bytes,
        "on_chip_bytes": check.on_chip_bytes,
        "fits_on_chip": check.fits_on_chip,
        "cautions": list(check.cautions),
        "compiler_unavailable": unavailable or None,
        "compiler": None if report is None else _compiler(report),
    }


def _compiler(report: CompilerReport) -> dict[str, object]:
    return {
        "version": report.version,
        "mapped": report.mapped,
        "on_cpu": report.on_cpu,
        "on_chip_bytes": report.on_chip_bytes,
        "streamed_bytes": report.streamed_bytes,
        "rows": [
            {"operator": row.operator, "count": row.count, "status": row.status}
            for row in report.rows
        ],
    }


def _print_report(
    model: Path, check: EdgeTpuCheck, report: CompilerReport | None, unavailable: str
) -> None:
    if check.compiled:
        print_text(
            f"{model} is compiled for the Edge TPU already; it needs the Edge TPU's delegate."
        )
    counts = Counter((p.operator, p.reason or "Edge TPU") for p in check.placements)
    rows = [(operator, count, where) for (operator, where), count in counts.items()]
    print_text(table(["operator", "count", "runs on, or why on the CPU"], rows, right=["count"]))
    print_text(
        f"By the documented rules {check.mapped} of {len(check.placements)} operators are mapped."
    )
    if not check.compiled:
        share = check.parameter_bytes / check.on_chip_bytes
        fits = "fit" if check.fits_on_chip else "do not fit, and the rest is streamed"
        print_text(
            f"Parameters: {check.parameter_bytes / 1024:.0f} KiB, {share:.0%} of the on-chip "
            f"memory of about {check.on_chip_bytes / 2**20:.0f} MiB; they {fits}."
        )
    for caution in check.cautions:
        print_text(f"Note: {caution}")
    if report is not None:
        print_text(
            f"edgetpu_compiler {report.version} maps {report.mapped}, leaves {report.on_cpu}:"
        )
        found = [(row.operator, row.count, row.status) for row in report.rows]
        print_text(table(["operator", "count", "status"], found, right=["count"]))
    elif unavailable:
        print_text(unavailable)
