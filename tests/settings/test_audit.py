"""The audit trail: append-only, chained, and every kind of tampering is found."""

from __future__ import annotations

import datetime
import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.errors import NotGood, StorageFault, UsageError
from edgeinspect.files.file_lock import exclusive
from edgeinspect.settings.audit import FIRST_PREVIOUS, Anchor, AuditTrail
from edgeinspect.settings.audit_guard import AuditGuard

NOON = datetime.datetime(2026, 3, 14, 12, tzinfo=datetime.UTC)


def trail_of(folder: Path, entries: int = 0) -> AuditTrail:
    trail = AuditTrail(folder / "data" / "audit.jsonl", now_wall=lambda: NOON)
    for number in range(1, entries + 1):
        trail.append(
            "recipe.apply", author="technician", reason=f"why {number}", details={"n": number}
        )
    return trail


def lines_of(trail: AuditTrail) -> list[bytes]:
    return trail.path.read_bytes().splitlines(keepends=True)


def findings(trail: AuditTrail, *anchors: Anchor) -> str:
    report = trail.verify(anchors)
    assert report.is_good == (not report.findings)
    return " ".join(report.findings)


def test_entries_are_chained_and_read_back(tmp_path: Path) -> None:
    trail = trail_of(tmp_path)
    assert trail.entries() == []
    assert trail.head() is None
    assert trail.verify().is_good
    first = trail.append("recipe.apply", author="a", reason="b", details={"x": [1, 2.5, None]})
    second = trail.append("output.manual", author="ä", reason="c")
    assert (first.previous, second.previous) == (FIRST_PREVIOUS, first.digest)
    assert trail.entries() == [first, second]
    assert first.time == NOON
    report = AuditTrail(trail.path).verify([Anchor(first.digest, "revision 1")])
    assert report.is_good
    assert (report.entries, report.head, report.anchors) == (2, second.digest, 1)


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 2)
    whole = trail.path.read_bytes()
    for place in range(len(whole) - 1):
        trail.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not trail.verify().is_good, whole[max(0, place - 20) : place + 20]


@given(order=st.permutations(range(5)))
def test_reordering_is_found(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    trail = trail_of(tmp_path_factory.mktemp("trail"), 5)
    lines = lines_of(trail)
    trail.path.write_bytes(b"".join(lines[index] for index in order))
    assert trail.verify().is_good == (list(order) == list(range(5)))


@pytest.mark.parametrize("gone", range(5))
def test_a_deleted_entry_is_found(tmp_path: Path, gone: int) -> None:
    trail = trail_of(tmp_path, 5)
    lines = lines_of(trail)
    trail.path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    assert not trail.verify().is_good


@pytest.mark.parametrize("kept", range(5))
def test_a_cut_tail_is_found(tmp_path: Path, kept: int) -> None:
    trail = trail_of(tmp_path, 5)
    trail.path.write_bytes(b"".join(lines_of(trail)[:kept]))
    assert f"last {5 - kept} of 5 entries are missing" in findings(trail)


def test_a_tail_cut_in_the_middle_of_a_line_is_found(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 3)
    trail.path.write_bytes(trail.path.read_bytes()[:-30])
    assert "truncated" in findings(trail)


def test_a_removed_trail_is_found(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 3)
    trail.path.unlink()
    assert "last 3 of 3" in findings(trail)


def test_a_forged_trail_is_found_by_what_others_kept(tmp_path: Path) -> None:
    """Whoever writes the trail and its head anew is found by a digest in another file."""
    trail = trail_of(tmp_path / "true", 3)
    anchor = Anchor(trail.entries()[2].digest, "active.yaml of bracket-17")
    forged = trail_of(tmp_path / "forged", 2)
    trail.path.write_bytes(forged.path.read_bytes())
    head = "audit-head.json"
    (trail.path.parent / head).write_bytes((forged.path.parent / head).read_bytes())
    assert trail.verify().is_good
    assert "active.yaml of bracket-17 refers to entry" in findings(trail, anchor)


def test_a_missing_or_damaged_head_is_found(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 2)
    head = trail.path.parent / "audit-head.json"
    for content in (b"", b"[]", b'{"sequence": "x", "digest": ""}'):
        head.write_bytes(content)
        assert "audit-head.json is damaged" in findings(trail)
    head.unlink()
    assert "is missing" in findings(trail)


def test_foreign_lines_are_findings_and_never_a_crash(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 1)
    good = trail.path.read_bytes()
    entry = json.loads(good)
    odd = [b"\xff", b"1", b"{}", b"[]", b"null", json.dumps({**entry, "time": 3}).encode()]
    for line in odd:
        trail.path.write_bytes(good + line + b"\n")
        assert "Line 2" in findings(trail)
        with pytest.raises(NotGood, match=r"audit\.jsonl:2"):
            trail.entries()
        with pytest.raises(NotGood):
            trail.append("recipe.apply", author="a", reason="b")
        assert trail.path.read_bytes() == good + line + b"\n"


def test_what_a_power_cut_left_of_a_line_is_no_tampering(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 2)
    with trail.path.open("ab") as file:
        file.write(b'{"action":"rec')
    report = trail.verify()
    assert (report.is_good, report.unfinished, report.entries) == (True, 14, 2)
    third = trail.append("recipe.apply", author="a", reason="b")
    assert third.sequence == 3
    assert trail.verify().unfinished == 0
    assert trail.verify().is_good


def test_killed_between_the_entry_and_the_head(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 2)
    head = trail.path.parent / "audit-head.json"
    before = head.read_bytes()
    trail.append("recipe.apply", author="a", reason="b")
    head.write_bytes(before)
    assert trail.verify().is_good
    assert trail.append("recipe.apply", author="a", reason="c").sequence == 4
    assert trail.verify().is_good


def _append_many(path: Path, name: str) -> None:
    trail = AuditTrail(path)
    for number in range(20):
        trail.append("recipe.apply", author=name, reason=str(number))


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, f"w{n}")) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    trail = AuditTrail(path)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert trail.verify().is_good
    for author in ("w0", "w1", "w2"):
        reasons = [entry.reason for entry in trail.entries() if entry.author == author]
        assert reasons == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    "action, author, reason, details",
    [
        ("Recipe apply", "a", "b", {}),
        ("recipe.apply", "", "b", {}),
        ("recipe.apply", "a", "  ", {}),
        ("recipe.apply", "a", "two\nlines", {}),
        ("recipe.apply", "a", "x" * 201, {}),
        ("recipe.apply", "a", "b", {"x": float("nan")}),
        ("recipe.apply", "a", "b", {"x": object()}),
    ],
)
def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, action: str, author: str, reason: str, details: dict[str, object]
) -> None:
    trail = trail_of(tmp_path, 1)
    before = trail.path.read_bytes()
    with pytest.raises(UsageError):
        trail.append(action, author=author, reason=reason, details=details)
    assert trail.path.read_bytes() == before


def test_a_held_lock_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    refused = pytest.raises(StorageFault, match="Another process")
    with exclusive(path), refused, exclusive(path, timeout_s=0.0):
        pytest.fail("two hold the lock")
    with exclusive(path, timeout_s=0.0):
        pass


# --- removed, replaced or moved -------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "folder", "link", "truncated", "replaced"])
def test_entries_after_a_loss_show_the_loss_for_ever(tmp_path: Path, how: str) -> None:
    trail = trail_of(tmp_path, 4)
    last = trail.entries()[-1]
    other = trail_of(tmp_path / "other", 4).path.read_bytes()
    whole = trail.path.read_bytes()
    trail.path.unlink()
    if how == "folder":
        trail.path.mkdir()
    elif how == "link":
        (tmp_path / "letter").write_text("for you")
        trail.path.symlink_to(tmp_path / "letter")
    elif how == "truncated":
        trail.path.write_bytes(whole[: whole.index(b"\n") + 1])
    elif how == "replaced":
        trail.path.write_bytes(other.replace(b"why 4", b"why 5"))
        with pytest.raises(NotGood):
            trail.append("recipe.apply", author="a", reason="b")
        trail.path.write_bytes(b"".join(other.splitlines(keepends=True)[:2]))
    for number in (5, 6):
        entry = trail.append("recipe.apply", author="a", reason="b")
        assert entry.sequence == number
        last, previous = entry, last
        assert entry.previous == previous.digest
    assert "entries are missing" in findings(trail)
    assert "was truncated" not in findings(trail)
    if how == "link":
        assert (tmp_path / "letter").read_text() == "for you"
    if how in ("folder", "link"):
        assert (trail.path.parent / "audit-set-aside-001.jsonl").exists()


def test_an_entry_written_into_a_file_without_a_name_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = trail_of(tmp_path, 1)
    monkeypatch.setattr(
        "edgeinspect.settings.audit.os.fsync", lambda descriptor: trail.path.unlink()
    )
    with pytest.raises(StorageFault, match="was moved while an entry was being written"):
        trail.append("recipe.apply", author="a", reason="b")


class SlowClock:
    """A second passes whenever it is read."""

    now = 0

    def __call__(self) -> int:
        self.now += 1_000_000_000
        return self.now


@pytest.mark.parametrize("how", ["deleted", "folder", "link", "another", "empty"])
def test_a_running_station_puts_the_trail_back(tmp_path: Path, how: str) -> None:
    trail = trail_of(tmp_path, 3)
    guard = AuditGuard(trail, now_mono_ns=SlowClock())
    assert guard.look() == ""
    fourth = trail.append("recipe.apply", author="a", reason="from another process")
    other = trail_of(tmp_path / "other", 2).path.read_bytes()
    trail.path.unlink()
    if how == "folder":
        trail.path.mkdir()
    elif how == "link":
        trail.path.symlink_to(tmp_path / "other" / "data" / "audit.jsonl")
    elif how == "another":
        trail.path.write_bytes(other)
    elif how == "empty":
        trail.path.touch()
    assert "the station restored its entries" in guard.look()
    assert guard.look() == ""
    assert trail.entries()[-1] == fourth
    assert trail.verify().is_good
    assert trail.append("recipe.apply", author="a", reason="b").sequence == 5
    assert trail.verify().is_good
    aside = list(trail.path.parent.glob("audit-set-aside-*"))
    assert len(aside) == (how != "deleted")
    guard.close()


def test_what_was_appended_between_deletion_and_notice_is_kept(tmp_path: Path) -> None:
    trail = trail_of(tmp_path, 3)
    guard = AuditGuard(trail, now_mono_ns=SlowClock())
    guard.look()
    trail.path.unlink()
    trail.append("recipe.apply", author="a", reason="between")
    assert "the station restored its entries" in guard.look()
    assert [entry.sequence for entry in trail.entries()] == [1, 2, 3, 4]
    assert trail.verify().is_good
    guard.close()
