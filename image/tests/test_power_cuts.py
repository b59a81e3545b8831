"""The emulator is killed while the station records; what was acknowledged must still be there.

The host's cache outlives the emulator: what the machine had handed to its card is kept. Cuts that
keep only what was forced to it are those of ``tests/evidence/kill_records.py``.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

import pytest

from image.qemu.machine import Machine
from image.tests import guest

pytestmark = pytest.mark.slow
LONGEST_S = 60.0
_log = logging.getLogger("edgeinspect.image")


def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(
    fresh: Machine, pytestconfig: pytest.Config, note: Callable[[str], None]
) -> None:
    cuts = int(pytestconfig.getoption("--power-cuts"))
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    acknowledged: set[int] = set()
    came_back_s = []
    _log.info("%d power cuts, seed %d", cuts, seed)
    for cut in range(1, cuts + 1):
        listener = guest.Listener(fresh)
        guest.wait_until("a record", lambda: bool(listener.acknowledged), limit_s=900)  # noqa: B023
        time.sleep(rng.uniform(0, LONGEST_S))
        fresh.cut_power()
        listener.close()
        acknowledged |= set(listener.acknowledged)
        began = time.monotonic()
        fresh.start()
        guest.wait_until_shell(fresh)
        guest.wait_until_inspecting(fresh)
        came_back_s.append(time.monotonic() - began)
        fresh.wait_for_login()
        found = guest.records(fresh)
        assert acknowledged <= set(found["parts"]), f"lost at cut {cut}, seed {seed}"
        assert found["integrity"] == "ok"
        assert len(found["parts"]) == len(set(found["parts"]))
        assert found["starts"][-1] == ["ok", ""], found["starts"]
        assert guest.unit(fresh, "data.mount")["ActiveState"] == "active"
        _log.info(
            "power cut %d of %d: 0 of %d acknowledged records lost, inspecting again after %.0f s",
            *(cut, cuts, len(acknowledged), came_back_s[-1]),
        )
    note(
        f"{cuts} power cuts (seed {seed}): 0 of {len(acknowledged)} acknowledged records lost; "
        f"inspecting again after {min(came_back_s):.0f} to {max(came_back_s):.0f} s"
    )
