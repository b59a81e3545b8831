"""Links between pages lead to a file and a heading that exist; so do paths that code names."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "image/*.md", "tools/*.md", ".github/**/*.md")
    for path in sorted(REPOSITORY.glob(pattern))
]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
NAMED_PAGE = re.compile(r"(?<![\w./])(docs/[\w./-]+\.md)")
MADE_BY_THE_SITE = "reference/api/"


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    text = CODE.sub(lambda found: found[0].replace("\n#", "\n"), path.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {slug(heading) for heading in headings}


def slug(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def links(path: Path) -> Iterator[str]:
    for found in LINK.finditer(CODE.sub("", path.read_text())):
        target = found[1] or found[2]
        if "://" not in target and MADE_BY_THE_SITE not in target:
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} is missing"
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"
        if page.is_relative_to(REPOSITORY / "docs"):
            assert target.is_relative_to(REPOSITORY / "docs"), f"{link} leaves the site"


def test_every_page_that_a_file_names_exists() -> None:
    listed = subprocess.run(
        ["git", "grep", "-I", "-l", "-F", "docs/", "--", ":!docs", ":!tests/records/earlier"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        for page in NAMED_PAGE.findall((REPOSITORY / name).read_text(encoding="utf-8")):
            assert (REPOSITORY / page).is_file(), f"{name} names {page}, which is missing"


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("`io` and `lines`", "io-and-lines"),
        ("data: read, judge and split a data set", "data-read-judge-and-split-a-data-set"),
        ("An Élan", "an-elan"),
    ],
)
def test_anchors_are_those_of_the_site(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor


def test_every_path_that_contributing_names_exists() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:edgeinspect|tools|tests|docs|image)/[\w./-]+)`", text)
    assert len(paths) > 30
    missing = [path for path in paths if "NAME" not in path and not (REPOSITORY / path).exists()]
    assert not missing
