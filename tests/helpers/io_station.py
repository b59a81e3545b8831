"""A station file with a line of every kind, and its audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail

TRIGGER, CONFIRM, REJECT, BEACON = 17, 22, 5, 6
LABEL = "pinctrl-bcm2711"


def write_station(folder: Path, **changes: Any) -> Path:
    settings = {
        "format": 1,
        "id": "bench",
        "data_dir": "data",
        "product": "cover",
        "camera": {"driver": "folder", "device": "pictures"},
        "io": {"driver": "gpiod", "chip": LABEL},
        "lines": {
            "trigger": {"line": TRIGGER},
            "confirm": {"line": CONFIRM},
            "reject": {"line": REJECT},
            "beacon": {"line": BEACON, "active": "low"},
        },
        "trigger_debounce_ms": 1,
        "track": {
            "tracking": "delay",
            "min_pitch_ms": 80,
            "sensor_to_lens_ms": 5,
            "exposure_window_ms": 10,
            "sensor_to_gate_ms": 200,
            "window_before_ms": 20,
            "window_after_ms": 20,
        },
        "gate": {"kind": "normally-passing"},
        "confirm": {"earliest_ms": -50, "latest_ms": 100},
        **changes,
    }
    file = folder / "station.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


def trail(station: Path) -> list[Any]:
    return AuditTrail(station.parent / "data" / AUDIT_FILE).entries()
