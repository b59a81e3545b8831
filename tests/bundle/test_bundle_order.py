"""Which of two bundles is the older one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.bundle.order import Build, compare_versions, is_older

ASCENDING = [
    ("1", "2", "10"),
    ("1.9", "1.10", "1.10.1", "2"),
    ("1.0-alpha", "1.0-beta", "1.0-rc1", "1.0-rc2", "1.0-rc10", "1.0", "1.0.1"),
    ("2026-11-28", "2026-12-01", "2027-01-01"),
    ("v1", "v2", "v10"),
    ("1.2", "1.2.1+build9", "1.2.2+build1"),
    ("99999999999999999999", "100000000000000000000"),
    ("rc1", "1"),
]
VERSIONS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,12}", fullmatch=True)


@pytest.mark.parametrize("versions", ASCENDING)
def test_versions_rise_as_people_read_them(versions: tuple[str, ...]) -> None:
    for older, newer in itertools.combinations(versions, 2):
        assert compare_versions(older, newer) < 0, (older, newer)
        assert compare_versions(newer, older) > 0, (older, newer)


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("1.0", "1.0.0"), ("2+a", "2+b")])
def test_some_that_are_written_otherwise_are_the_same(one: str, other: str) -> None:
    assert compare_versions(one, other) == 0


@given(VERSIONS, VERSIONS, VERSIONS)
def test_it_is_an_order(a: str, b: str, c: str) -> None:
    assert compare_versions(a, b) == -compare_versions(b, a)
    if compare_versions(a, b) <= 0 and compare_versions(b, c) <= 0:
        assert compare_versions(a, c) <= 0


def build(version: str, digest: str, signed_s: int = 0, name: str = "spots") -> Build:
    return Build(name=name, version=version, digest=digest, signed_s=signed_s)


def test_two_builds_of_one_version_are_distinguished_by_when_they_were_signed() -> None:
    assert is_older(build("1", "a", 100), build("1", "b", 200))
    assert not is_older(build("1", "b", 200), build("1", "a", 100))
    assert is_older(build("1", "a"), build("1", "b", 200))  # undated: made before dates were
    assert not is_older(build("1", "a"), build("1", "b"))
    assert not is_older(build("2", "a", 100), build("1", "b", 200))


def test_another_name_is_another_model_and_the_same_digest_the_same_bundle() -> None:
    assert not is_older(build("1", "a", name="dots"), build("2", "b"))
    assert not is_older(build("1", "a", 100), build("1", "a", 200))
