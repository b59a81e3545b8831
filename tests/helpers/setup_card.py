"""A card with which a station is set up, and what happens when it is read."""

from __future__ import annotations

import base64
import datetime
import shutil
from pathlib import Path

from edgeinspect.cli.application import run_command_line
from edgeinspect.settings.recipe import recipe_yaml
from edgeinspect.setup.found import Places
from edgeinspect.setup.importing import Outcome, import_setup
from edgeinspect_tools.cli import application as tools_application
from tests.helpers.bundle_samples import spot_bundle

BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))


KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()} technician@office"


CONF = f"""\
# press 7, hall 2
format: 1
hostname: press-7
ssh_keys:
  - {KEY}
"""


WIFI = """\
network:
  wifi: {ssid: "hall 2", passphrase: "correct horse: battery", country: DE}  # the guest network
"""


STATION = """\
format: 1
id: press-7
data_dir: data
product: cover
camera: {driver: sim}
io: {driver: sim}
lines:
  trigger: {line: part-present}
  reject: {line: gate}
trigger_debounce_ms: 5
track:
  tracking: delay
  min_pitch_ms: 150
  sensor_to_lens_ms: 60
  exposure_window_ms: 30
  sensor_to_gate_ms: 900
  window_before_ms: 40
  window_after_ms: 40
gate: {kind: normally-rejecting}
"""


NOON = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)


def give(places: Places, text: str = CONF, **files: str) -> None:
    places.conf.write_text(text)
    for name, content in files.items():
        (places.boot / name.replace("_yaml", ".yaml")).write_text(content)


def take(places: Places) -> Outcome:
    return import_setup(places, now_wall=lambda: NOON)


def log(places: Places) -> str:
    return (places.boot / "station.log").read_bytes().decode().replace("\r\n", "\n")


def whole_card(places: Places, tmp_path: Path) -> str:
    """A card with station file, signed bundle, key and recipe; returns its station.conf."""

    def tools(*arguments: str) -> None:
        assert run_command_line(tools_application, program="t", arguments=arguments) == 0

    bundle = spot_bundle(tmp_path, name="spots")
    tools("key", str(tmp_path / "shop"), "--no-password")
    tools("sign", str(bundle.directory), "--key", str(tmp_path / "shop.key"))
    shutil.copytree(bundle.directory, places.boot / "spots")
    shutil.copy(tmp_path / "shop.pub", places.boot)
    from edgeinspect.runtime.plan import bundle_recipe

    recipe = bundle_recipe(bundle, product="cover")
    conf = CONF + "station_file: station.yaml\nrecipe: cover.yaml\nbundle: spots\n"
    conf += "trusted_keys: [shop.pub]\n"
    station = STATION + "trusted_keys: keys\n"
    give(places, conf, station_yaml=station, cover_yaml=recipe_yaml(recipe))
    return conf
