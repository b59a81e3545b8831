"""Find old turns of phrase in prose: pages, docstrings, comments and messages.

``python -m tests.helpers.prose FILE...`` prints each place as ``file:line: found; write: instead``
and ends with 1 if it found any. The list of phrases is ``tests/house/prose_words.txt``.

This is a small checker of our own because the known ones do not fit: proselint takes no word
list, and the vale package on the Python index downloads an unpinned binary when it first runs,
which works neither offline nor with a lock file.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = Path(__file__).parents[1] / "house" / "prose_words.txt"

_NOT_PROSE = re.compile(
    r"^```.*?^```"  # fenced code
    r"|^~~~.*?^~~~"
    r"|(?<=\n\n)(?: {4}|\t)\S[^\n]*(?:\n(?: {4}|\t)[^\n]*)*"  # indented code
    r"|<!--.*?-->"
    r"|``[^`]*``|`[^`]*`"
    r"|(?<=\])\([^)]*\)"  # the target of a link
    r"|https?://\S+",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Tic:
    """One phrase that we no longer write."""

    pattern: re.Pattern[str]
    instead: str


@dataclass(frozen=True)
class Finding:
    """One place where a phrase was found."""

    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.found!r}; write: {self.instead}"


@functools.cache
def tics() -> list[Tic]:
    """Read the word list."""
    lines = [line for line in WORDS.read_text().splitlines() if line and line[0] != "#"]
    pairs = [line.split("\t") for line in lines]
    return [Tic(_pattern(expression), instead) for expression, instead in pairs]


def _pattern(expression: str) -> re.Pattern[str]:
    return re.compile(expression.replace("(?<!there )", r"(?<!there\s)").replace(" ", r"\s+"), re.I)


def findings(path: Path) -> list[Finding]:
    """Every tic in a Markdown or Python file, in order."""
    text = path.read_text(encoding="utf-8")
    passages = python_prose(text) if path.suffix == ".py" else [(1, text)]
    known = tics()
    found = [
        Finding(line + prose.count("\n", 0, match.start()), " ".join(match[0].split()), tic.instead)
        for line, passage in passages
        for prose in [_blanked(passage)]
        for tic in known
        for match in tic.pattern.finditer(prose)
    ]
    return sorted(found, key=lambda finding: finding.line)


def _blanked(text: str) -> str:
    """The text with code, link targets and comments replaced, each line where it was."""
    return _NOT_PROSE.sub(lambda match: "\n" * match[0].count("\n") or "CODE", text)


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings, messages (strings of three words or more) and comments, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.count(" ") >= 2
        ):
            yield node.lineno, node.value
    blocks: list[tuple[int, list[str]]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            if not blocks or blocks[-1][0] + len(blocks[-1][1]) != line:
                blocks.append((line, []))
            blocks[-1][1].append(token.string.lstrip("#: "))
    yield from ((line, "\n".join(comments)) for line, comments in blocks)


def main() -> int:
    """Print the findings in the files that are named."""
    count = 0
    for path in map(Path, sys.argv[1:]):
        for finding in findings(path):
            sys.stdout.write(f"{path}:{finding.line}: {finding}\n")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
