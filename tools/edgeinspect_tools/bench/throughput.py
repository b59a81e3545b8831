"""Pictures a minute: the station's replay against the loop that one would write first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.errors import NotGood
from edgeinspect.hw.runtime_library import load_library
from edgeinspect.line.tiles import lay_tiles
from edgeinspect.part import Region

CHILD_DEADLINE_S = 600


def parts_per_min(
    what: str, bundle: Path, folder: Path, roi: Region, *, cores: Sequence[int]
) -> float:
    """Run ``replay`` or ``naive`` over a folder in a process that may use these cores only."""
    program = [sys.executable, "-m", "edgeinspect_tools.bench.throughput"]
    request = {"what": what, "bundle": str(bundle), "folder": str(folder), "roi": list(roi)}
    done = subprocess.run(
        [*program, json.dumps(request | {"cores": list(cores)})],
        capture_output=True,
        text=True,
        timeout=CHILD_DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise NotGood(f"The {what} measurement failed: {done.stderr.strip()[-400:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["parts_per_min"])


def naive_loop(bundle: Bundle, files: Sequence[Path], roi: Region, *, threads: int) -> int:
    """Read, cut, normalise, quantize, invoke, dequantize, compare; one tile after the other.

    Returns how many pictures have a defect, so that no step can be left out.
    """
    card = bundle.card
    interpreter = load_library().interpreter(model_content=bundle.model, num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    tile_height, tile_width = card.input.shape[1:3]
    origins = lay_tiles(
        roi_width_px=roi.width,
        roi_height_px=roi.height,
        tile_width_px=tile_width,
        tile_height_px=tile_height,
        overlap_px=card.input.tile_overlap_px,
        stride_px=round(card.output.stride_px or 1),
    ).origins
    lowest, highest = np.iinfo(source["dtype"]).min, np.iinfo(source["dtype"]).max
    scale, zero_point = source["quantization"]
    out_scale, out_zero_point = target["quantization"]
    found = 0
    for file in files:
        picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        region = picture[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        worst = 0.0
        for x, y in origins:
            tile = region[y : y + tile_height, x : x + tile_width]
            tile = cv2.resize(tile, (tile_width, tile_height))
            real = (tile.astype(np.float32) - card.input.mean[0]) / card.input.std[0]
            quantized = np.clip(np.round(real / scale + zero_point), lowest, highest)
            interpreter.set_tensor(
                source["index"], quantized.astype(source["dtype"]).reshape(source["shape"])
            )
            interpreter.invoke()
            output = interpreter.get_tensor(target["index"]).astype(np.float32)
            logits = (output - out_zero_point) * out_scale
            worst = max(worst, float((1 / (1 + np.exp(-logits))).max()))
        found += worst >= 0.5
    return found


def _replay(bundle: Path, files: Sequence[Path], folder: Path, roi: Region, cores: int) -> float:
    from edgeinspect.runtime.models import open_inspectors
    from edgeinspect.runtime.plan import bundle_recipe, make_plan
    from edgeinspect.runtime.replay import Replay
    from edgeinspect.settings.station_file import EngineSettings, example_station

    loaded = load_bundle(bundle)
    station = example_station("normally-rejecting", data_dir=folder)
    recipe = bundle_recipe(loaded, product="bench", roi=roi)
    plan = make_plan(station, recipe, loaded, from_files=True)
    engine = EngineSettings(threads=1)
    opened = open_inspectors(loaded, engine=engine, roi=roi, count=cores, recipe_digest=plan.digest)
    run = Replay(config=plan.config, inspectors=opened.inspectors, files=files, folder=folder)
    for result in run.results():
        if result.record.inspection is None:
            raise NotGood(f"{result.file} was not inspected: {result.record.verdict}.")
    opened.close()
    return run.summary.parts_per_min


def _naive(bundle: Path, files: Sequence[Path], roi: Region, cores: int) -> float:
    loaded = load_bundle(bundle)
    naive_loop(loaded, files[:2], roi, threads=cores)
    start_s = time.monotonic()
    naive_loop(loaded, files, roi, threads=cores)
    return 60 * len(files) / (time.monotonic() - start_s)


def _child(request: dict[str, object]) -> float:
    cores = [int(core) for core in request["cores"]]  # type: ignore[attr-defined]
    os.sched_setaffinity(0, cores)
    folder, bundle = Path(str(request["folder"])), Path(str(request["bundle"]))
    roi = Region(*(int(value) for value in request["roi"]))  # type: ignore[attr-defined]
    files = sorted(folder.glob("*.png"))
    if request["what"] == "naive":
        return _naive(bundle, files, roi, len(cores))
    return _replay(bundle, files, folder, roi, len(cores))


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"parts_per_min": _child(json.loads(sys.argv[1]))}) + "\n")
