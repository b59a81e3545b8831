"""Prose is plain English: no phrase of prose_words.txt where a page or room has been rewritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.prose import findings, python_prose, tics

REPOSITORY = Path(__file__).parents[2]
NOT_YET = Path(__file__).with_name("prose_not_yet.txt")
PAGES = ("*.md", "docs/**/*.md", "image/*.md", ".github/**/*.md")
ROOMS = ("edgeinspect", "tools", "image")


def not_yet() -> list[str]:
    lines = NOT_YET.read_text().splitlines()
    return [line for line in lines if line and line[0] != "#"]


def files() -> list[Path]:
    pages = [path for pattern in PAGES for path in sorted(REPOSITORY.glob(pattern))]
    modules = [p for room in ROOMS for p in sorted((REPOSITORY / room).rglob("*.py"))]
    return pages + [p for p in modules if "tests" not in p.parts]


def place(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def covers(entry: str, name: str) -> bool:
    return name.startswith(entry) if entry.endswith("/") else name == entry


def test_no_old_phrase_where_the_prose_has_been_rewritten() -> None:
    exceptions = not_yet()
    rewritten = [p for p in files() if not any(covers(e, place(p)) for e in exceptions)]
    found = [f"{place(p)}:{f.line}: {f}" for p in rewritten for f in findings(p)]
    assert not found, "\n".join(found)


def test_the_list_of_exceptions_only_names_what_still_needs_work() -> None:
    known = files()
    for entry in not_yet():
        covered = [path for path in known if covers(entry, place(path))]
        assert covered, f"remove {entry} from prose_not_yet.txt: there is no such page or room"
        assert any(map(findings, covered)), f"remove {entry} from prose_not_yet.txt: it is clean"


@pytest.mark.parametrize(
    "text",
    [
        "'25:00' is no time.",
        "data_dir is in the\nway.",
        "The file is kept, for it may be needed.",
        "The line is told to stop.",
    ],
)
def test_a_tic_is_found(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{text}\n")
    assert {finding.line for finding in findings(page)} == {3}
    module = tmp_path / "module.py"
    module.write_text(f'"""{text}"""\n')
    assert findings(module)


@pytest.mark.parametrize(
    "text",
    [
        "There is no camera. It is no longer used.",
        "Run `told` or:\n\n    what it is\n\n```\nin the way\n```\n",
        "What is a bundle?",
        "Wait for the part, for the frame and for each count.",
    ],
)
def test_plain_english_and_code_are_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert findings(page) == []


def test_comments_and_messages_of_python_files_are_read() -> None:
    source = 'x = 1  # the first\n\n# one line\n# and the next\nprint(f"{x} parts in the way")\n'
    texts = [text for _, text in python_prose(source)]
    assert texts == [" parts in the way", "the first", "one line\nand the next"]


def test_every_line_of_the_word_list_can_be_read() -> None:
    assert len(tics()) > 30
