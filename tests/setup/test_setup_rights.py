"""The technician's links, pipes and swapped folders, tried by a real technician against root.

Root imports; the station's user and a technician of its group are real user numbers, and everything
that a technician can do below the station's folder is done by a process with his rights.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinspect.errors import ConfigError, StorageFault
from edgeinspect.files.yaml_file import read_yaml
from edgeinspect.settings.recipe import load_recipe, recipe_yaml
from edgeinspect.settings.station_file import load_station, parse_station
from edgeinspect.setup.found import Places
from edgeinspect.setup.importing import Outcome, State, import_setup
from edgeinspect.setup.owner import Owner, run_as
from edgeinspect.setup.station_paths import refuse_other_places
from tests.helpers.setup_card import NOON, whole_card

REPOSITORY = Path(__file__).parents[2]
STATION, TECHNICIAN = 60001, 60002
OWNER = Owner(uid=STATION, gid=STATION, groups=(STATION,))

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can try what root may be led to"
)


class Site:
    """A data partition, a card, and a folder of root's that must stay as it is.

    Below a folder that everybody may enter, as ``/data`` is, and not pytest's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = Places(boot=folder / "boot", data=folder / "data")
        self.victim = folder / "victim"
        for path in (self.places.boot, self.places.data, self.victim):
            path.mkdir(mode=0o755)
        (self.victim / "secret").write_text("root owns this")
        (self.victim / "secret").chmod(0o640)
        (self.victim / "000001.yaml").write_text("root's")
        (self.folder / "made").mkdir()
        self.conf = whole_card(self.places, self.folder / "made")
        self._edits = 0

    @property
    def data(self) -> Path:
        return self.places.station_dir / "data"

    def take(self) -> Outcome:
        return import_setup(self.places, now_wall=lambda: NOON, owner_of=lambda: OWNER)

    def take_a_change(self) -> Outcome:
        """An ordinary import: another recipe, and another bundle folder to write."""
        self._edits += 1
        path = self.places.boot / "cover.yaml"
        recipe = load_recipe(path)
        limit = recipe.thresholds[0].model_copy(update={"reject": 0.9 + self._edits / 1000})
        path.write_text(recipe_yaml(recipe.model_copy(update={"thresholds": (limit,)})))
        return self.take()

    def run(self, script: str, *, uid: int = TECHNICIAN) -> subprocess.CompletedProcess[str]:
        """A shell script in the data folder, by the technician or another user."""
        return subprocess.run(
            ["/bin/sh", "-ec", script],
            cwd=self.data, user=uid, group=uid, extra_groups=[STATION], umask=0o002,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "VICTIM": str(self.victim)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def roots(self) -> dict[str, tuple[object, ...]]:
        """Everything of the victim's that somebody could have changed."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.victim.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[path.name] = (
                status.st_uid,
                status.st_gid,
                status.st_mode,
                status.st_nlink,
                content,
            )
        return found


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="edgeinspect-rights.") as folder:
        Path(folder).chmod(0o755)
        yield Site(Path(folder))


def test_root_owns_its_few_folders_and_nothing_below_the_stations(site: Site) -> None:
    assert site.take().problems == ()
    status = site.places.station_dir.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, STATION, 0o2750)
    for path in (site.places.keys_dir, *site.places.keys_dir.iterdir(), site.places.system_dir):
        assert path.stat().st_uid == 0, path
        assert not path.stat().st_mode & 0o022, path
    status = site.places.station_file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (STATION, STATION, 0o660)
    assert stat.S_IMODE(site.data.stat().st_mode) == 0o2770
    below = [site.data, *site.data.rglob("*")]
    assert len(below) > 10
    assert {path.lstat().st_uid for path in below} == {STATION}
    assert {path.lstat().st_gid for path in below} == {STATION}


@pytest.mark.parametrize(
    "trap",
    [
        "rm -f recipes/.lock; ln -s $VICTIM/secret recipes/.lock",
        "rm -f recipes/.lock; ln -s $VICTIM/new recipes/.lock",
        "mv audit.jsonl old; ln -s $VICTIM/new audit.jsonl",
        "mv audit-head.json old; ln -s $VICTIM/secret audit-head.json",
        "rm -f .audit.jsonl.lock; ln -s $VICTIM/secret .audit.jsonl.lock",
        "mv bundles old; ln -s $VICTIM bundles",
        "mv recipes old; ln -s $VICTIM recipes",
        "mv recipes/cover old; ln -s $VICTIM recipes/cover",
        "mv recipes/cover/active.yaml old; ln -s $VICTIM/secret recipes/cover/active.yaml",
        "rm -f recipes/.lock; mkfifo recipes/.lock",
        "mv audit.jsonl old; mkfifo audit.jsonl",
        "mv recipes/cover/active.yaml old; mkfifo recipes/cover/active.yaml",
        "ln $VICTIM/000001.yaml recipes/cover/000009.yaml || true",
        "mkdir more; for n in 1 2; do ln -s $VICTIM more/$n; done; mv recipes old; mv more recipes",
    ],
)
def test_no_trap_of_a_technician_leads_root_anywhere(site: Site, trap: str) -> None:
    assert site.take().problems == ()
    before = site.roots()
    laid = site.run(trap)
    assert laid.returncode == 0, laid.stderr
    outcome = site.take_a_change()
    after = site.roots()
    if "ln $VICTIM" in trap:  # where the kernel lets him, a file has one name more
        before["000001.yaml"] = (*before["000001.yaml"][:3], 2, *before["000001.yaml"][4:])
        after["000001.yaml"] = (*after["000001.yaml"][:3], 2, *after["000001.yaml"][4:])
    assert after == before
    # what is the system's is taken all the same, so that somebody can log in and look
    assert outcome.state in (State.IMPORTED, State.PARTLY)
    assert (site.places.system_dir / "etc/hostname").read_text() == "press-7\n"
    assert {path.lstat().st_uid for path in site.data.rglob("*")} <= {STATION, TECHNICIAN} | (
        {0} if "ln $VICTIM" in trap else set()
    )


RACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
while True:
    libc.renameat2(-100, b"recipes/cover", -100, b"trap", 2)
"""


def test_a_folder_that_is_swapped_all_the_time_leads_nobody_out(site: Site) -> None:
    """What used to win: a chown by root over a tree whose folders change places with links."""
    assert site.take().problems == ()
    assert site.run("ln -s $VICTIM trap").returncode == 0
    before = site.roots()
    racer = subprocess.Popen(
        ["/usr/bin/python3", "-c", RACER],
        cwd=site.data, user=TECHNICIAN, group=TECHNICIAN, extra_groups=[STATION],
    )  # fmt: skip
    try:
        for _ in range(4):
            site.take_a_change()
    finally:
        racer.kill()
        racer.wait()
    assert site.roots() == before
    assert 0 not in {path.lstat().st_uid for path in site.data.rglob("*")}


@pytest.mark.parametrize("uid", [STATION, TECHNICIAN])
def test_neither_technician_nor_station_can_change_whose_bundles_are_taken(
    site: Site, uid: int
) -> None:
    assert site.take().problems == ()
    keys = sorted(site.places.keys_dir.iterdir())
    for attempt in (
        "mv ../keys ../other",
        "cp ../keys/shop.pub ../keys/mine.pub",
        "echo x > ../keys/shop.pub",
        "rm -f ../keys/shop.pub",
        "ln -sfn /tmp ../keys",
        "mv ../data ../elsewhere",
        "mkdir ../more",
    ):
        assert site.run(attempt, uid=uid).returncode != 0, attempt
    assert sorted(site.places.keys_dir.iterdir()) == keys
    # all that he can write is the station file, and no line of it lifts the rule
    assert (
        site.run("sed '/trusted_keys/d' ../station.yaml > s; cat s > ../station.yaml").returncode
        == 0
    )
    assert "trusted_keys" not in site.places.station_file.read_text()
    assert load_station(site.places.station_file).trusted_keys == site.places.keys_dir
    assert site.run("echo 'trusted_keys: data/mine' >> ../station.yaml").returncode == 0
    with pytest.raises(ConfigError, match="expected keys, or no value"):
        load_station(site.places.station_file)


def test_what_an_older_version_left_to_the_station_becomes_roots(site: Site) -> None:
    assert site.take().problems == ()
    keys = site.places.keys_dir
    (keys / "link.pub").symlink_to(site.victim / "secret")
    os.mkfifo(keys / "pipe.pub")
    for path in (site.places.station_dir, keys, *keys.iterdir()):
        os.chown(path, STATION, STATION, follow_symlinks=False)
    still_open = os.open(keys / "shop.pub", os.O_WRONLY)
    content = (keys / "shop.pub").read_bytes()
    before = site.roots()
    assert site.take().state is State.UNCHANGED
    os.pwrite(still_open, b"changed after all", 0)
    os.close(still_open)
    assert [path.name for path in keys.iterdir()] == ["shop.pub"]
    assert (keys / "shop.pub").read_bytes() == content
    assert site.places.station_dir.stat().st_uid == keys.stat().st_uid == 0
    assert (keys / "shop.pub").stat().st_uid == 0
    assert site.roots() == before


def test_a_link_in_place_of_roots_own_folder_is_refused(site: Site) -> None:
    for name in ("system", "edgeinspect"):
        (site.places.data / name).symlink_to(site.victim)
        with pytest.raises(StorageFault, match="is not a separate folder"):
            site.take()
        (site.places.data / name).unlink()
    assert sorted(path.name for path in site.victim.iterdir()) == ["000001.yaml", "secret"]


@pytest.mark.parametrize(
    ("laid", "data_dir", "wrong"),
    [
        ("ln -s $VICTIM there", "data/there", "is a link"),
        ("ln -s $VICTIM there", "data/there/below", "is a link"),
        ("mkdir mine", "data/mine", "belongs to another user"),
        ("echo x > there", "data/there", "is not a folder"),
    ],
)
def test_an_imported_station_file_leads_through_nothing_of_a_technicians(
    site: Site, laid: str, data_dir: str, wrong: str
) -> None:
    assert site.take().problems == ()
    assert site.run(laid).returncode == 0
    before = site.roots()
    path = site.places.boot / "station.yaml"
    for key in ("data_dir", "bundles_dir"):
        text = path.read_text()
        text = text.replace("data_dir: data\n", f"{key}: {data_dir}\n")
        (site.places.boot / "changed.yaml").write_text(
            text if key == "data_dir" else f"data_dir: data\n{text}"
        )
        site.places.conf.write_text(
            site.conf.replace("station.yaml", "changed.yaml") + f"# {key}\n"
        )
        outcome = site.take()
        assert outcome.state is State.PARTLY
        assert wrong in str(outcome.problems[0])
        assert f"{key} is" in str(outcome.problems[0])
    assert site.roots() == before


def test_another_file_system_is_not_the_data_partition(site: Site) -> None:
    yaml_file = read_yaml(site.places.boot / "station.yaml")
    station = parse_station(yaml_file, at=Path("/"))
    elsewhere = station.model_copy(update={"data_dir": Path("/proc/edgeinspect")})
    with pytest.raises(ConfigError, match="/proc is on another file system"):
        refuse_other_places(yaml_file, elsewhere, Path("/"), uid=None)


def test_the_child_has_no_rights_of_roots_and_none_of_its_files(site: Site) -> None:
    (site.victim / "open").write_text("root's")
    (site.victim / "open").chmod(0o600)
    kept = os.open(site.victim / "open", os.O_RDONLY)
    path = str(site.victim / "open")

    def look() -> dict[str, object]:
        def can(attempt: object) -> bool:
            try:
                attempt()  # type: ignore[operator]
            except OSError:
                return False
            return True

        return {
            "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
            "root_again": can(lambda: os.setuid(0)),
            "reads": can(lambda: os.open(path, os.O_RDONLY)),
            "keeps": can(lambda: os.fstat(kept)),
        }

    seen = run_as(OWNER, look)
    os.close(kept)
    assert seen == {"ids": [STATION] * 7, "root_again": False, "reads": False, "keeps": False}


def test_a_child_that_hangs_or_dies_is_one_clear_error(site: Site) -> None:
    def hang() -> dict[str, object]:
        return {"read": os.read(os.pipe()[0], 1)}

    with pytest.raises(StorageFault, match="ended early or took longer than"):
        run_as(OWNER, hang, limit_s=0.05)
    with pytest.raises(StorageFault, match="ended early"):
        run_as(OWNER, lambda: os._exit(0))
    with pytest.raises(StorageFault, match="ended early"):
        run_as(OWNER, lambda: {"much": "x" * (5 << 20)})


WHOLE = r"""
set -eu
mount --bind "$SITE/passwd" /etc/passwd
mount --bind "$SITE/group" /etc/group
mount -t tmpfs tmpfs "$SITE/boot"
cp -R "$SITE/card/." "$SITE/boot/"
export PATH="$SITE/bin:/usr/sbin:/usr/bin:/sbin:/bin" EDGEINSPECT_PLACES="$SITE/places.conf"
sh "$BIN/setup" || exit 9
cat "$SITE/boot/station.log"
"""


def test_the_start_itself_does_it_with_the_accounts_of_the_image(site: Site) -> None:
    """The shell script, with the image's user and group, in mounts that nobody else sees."""
    folder = site.folder
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("mounts of its own cannot be had here")
    site.places.boot.rename(folder / "card")
    for name in ("boot", "etc", "run", "bin"):
        (folder / name).mkdir()
    accounts = f"edgeinspect:x:{STATION}:{STATION}::/:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + accounts)
    group = f"edgeinspect:x:{STATION}:\n"
    (folder / "group").write_text(Path("/etc/group").read_text() + group)
    (folder / "places.conf").write_text(
        f"BOOT={folder}/boot\nDATA={folder}/data\nDATA_MOUNT=\nETC={folder}/etc\n"
        f"RUN={folder}/run\nPROGRAMS={folder}/bin\n"
    )
    programs = {
        "edgeinspect": f'PYTHONPATH={REPOSITORY} exec {sys.executable} -m edgeinspect "$@"',
        **dict.fromkeys(("systemctl", "hostname", "systemd-tmpfiles"), "exit 0"),
    }
    for name, body in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    (site.places.station_dir).mkdir()  # as an older version left it
    os.chown(site.places.station_dir, STATION, STATION)
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", WHOLE],
        env={**os.environ, "SITE": str(folder), "BIN": str(REPOSITORY / "image/common/bin")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SET UP. Everything was imported." in done.stdout, done.stdout + done.stderr
    assert (folder / "etc/hostname").read_text() == "press-7\n"
    assert site.places.station_dir.stat().st_uid == 0
    assert {path.lstat().st_uid for path in site.data.rglob("*")} == {STATION}


def test_a_process_that_holds_much_memory_can_still_hand_the_work_over() -> None:
    held = bytearray(3 << 30)  # never written to, so it costs no memory
    assert run_as(OWNER, lambda: {"room": len(bytearray(64 << 20))}) == {"room": 64 << 20}
    del held
