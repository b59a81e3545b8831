"""Draws the tuning screen as lines of text. Pure: a view and a size in, lines out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from edgeinspect.health.station_health import HEALTH_STYLE
from edgeinspect.labels.label_store import LabelKind
from edgeinspect.records.score_table import VERDICTS
from edgeinspect.screens.tune.tune_view import FilmstripPart, TuneView
from edgeinspect.terminal.words import VERDICT_STYLE
from edgeinspect.tune.whatif import Outcome, Share

LEAST_WIDTH, LEAST_HEIGHT = 80, 24
LANE_LABEL = 14
THUMBNAIL_COLUMNS = 15
"""Columns of one picture of the filmstrip."""
_FIXED_LINES = 12
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LANES = (("good", "green"), ("defective", "red"), ("unlabelled", "white"))
_LABEL_STYLE = {
    LabelKind.GOOD: "green",
    LabelKind.DEFECTIVE: "red",
    LabelKind.UNSURE: "yellow",
}
HELP = (
    ("←→", "fine"),
    ("⇧←→", "coarse"),
    ("Tab", "other"),
    ("c", "class"),
    ("↑↓", "part"),
    ("gdu", "label"),
    ("a", "apply"),
    ("?", "help"),
)


def plot_bins(width: int) -> int:
    """How many bins a histogram has on a screen of this width."""
    return max(10, width - LANE_LABEL - 1)


def thumbnails_across(width: int) -> int:
    """How many pictures fit beside each other."""
    return max(1, width // (THUMBNAIL_COLUMNS + 1))


def thumbnail_rows(height: int) -> int:
    """Lines of a picture: what the histogram and the fixed lines leave, at least 5."""
    return max(5, (height - _FIXED_LINES) * 5 // 12)


def thumbnail_top(height: int) -> int:
    """The line that the pictures begin on; below them are two captions and the help."""
    return height - 3 - thumbnail_rows(height)


def fits(*, width: int, height: int) -> bool:
    """A terminal of this size can show the screen."""
    return width >= LEAST_WIDTH and height >= LEAST_HEIGHT


def draw(view: TuneView, *, width: int, height: int) -> list[Text]:
    """Exactly ``height`` lines of at most ``width`` characters, without the pictures."""
    if not fits(width=width, height=height):
        return too_small(width=width, height=height)
    rows = thumbnail_rows(height)
    lines = [_title(view, width), _class_line(view, width)]
    lines += _lanes(view, width=width, rows=height - _FIXED_LINES - rows)
    lines += [_axis(view, width), _thresholds(view)]
    lines += _table(view)
    lines.append(_labels(view))
    lines.append(_filmstrip_head(view))
    lines += [Text() for _ in range(rows)]
    lines += _captions(view, width)
    lines.append(_help(view, width))
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return [*lines[: height - 1], lines[-1]]


def too_small(*, width: int, height: int) -> list[Text]:
    """What a terminal that is too small gets; nothing else is drawn or changed there."""
    words = (
        f"edgeinspect tune needs {LEAST_WIDTH} x {LEAST_HEIGHT} characters. "
        f"This terminal has {width} x {height}. Enlarge it (nothing is lost), or press q to quit."
    )
    lines: list[Text] = []
    line = ""
    for word in words.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(Text(line, no_wrap=True))
            line = word
        else:
            line = f"{line} {word}".strip()
    lines.append(Text(line, no_wrap=True))
    lines = lines[:height]
    return lines + [Text("")] * (height - len(lines))


def _title(view: TuneView, width: int) -> Text:
    right = Text()
    if view.is_loading:
        right.append("reading the records  ", "bold yellow")
    right.append(f"{view.was.parts:,} parts  ")
    right.append("live ● " if view.is_live else "still  ", "bold green" if view.is_live else "dim")
    right.append(f" {view.state}", "bold green" if view.state == "inspecting" else "bold yellow")
    if view.health:
        right.append("  health ")
        right.append(view.health, HEALTH_STYLE[view.health])
    left = Text(f"{view.title} ", "bold", no_wrap=True)
    left.truncate(max(8, width - right.cell_len - 1), overflow="ellipsis", pad=True)
    return Text.assemble(left, " ", right)


def _class_line(view: TuneView, width: int) -> Text:
    line = Text.assemble(("class ", "dim"), (view.drafted.name, "bold cyan"))
    line.append(f"  {view.class_number} of {view.classes}", "dim")
    if view.changed_classes:
        line.append(f"   {view.changed_classes} of them drafted", "bold yellow")
    if view.last_part:
        line.truncate(max(30, width - len(view.last_part) - 2), overflow="ellipsis", pad=True)
        line.append(f"  {view.last_part}", "dim")
    return line


def _lanes(view: TuneView, *, width: int, rows: int) -> list[Text]:
    """Three histograms over one another, each with its own logarithmic height."""
    share, more = divmod(rows, 3)
    heights = (share, share, share + more)
    totals = [int(bins.sum()) for bins in view.bins]
    marks = _marker_places(view, plot_bins(width))
    lines = []
    for (name, style), bins, total, high in zip(_LANES, view.bins, totals, heights, strict=True):
        bars = bar_rows(bins, high)
        for number, bar in enumerate(bars):
            label = f"{name:<10}" if number == 0 else ""
            if number == (1 if high > 1 else 0):
                label = f"{total:>9,}" if high > 1 else f"{name[:3]} {total:,}"
            line = Text(f"{label:<{LANE_LABEL - 1}} ", style if total else "dim")
            line.append_text(_with_markers(Text(bar, style), marks))
            lines.append(line)
    return lines


def bar_rows(bins: NDArray[np.int64], rows: int) -> list[str]:
    """A histogram as ``rows`` strings, top first; heights are logarithmic, one part shows."""
    top = int(bins.max()) if bins.size else 0
    if top == 0:
        return [" " * bins.size] * rows
    full = 8 * rows
    heights = np.ceil(np.log1p(bins) / np.log1p(top) * full).astype(int)
    return [
        "".join(_EIGHTHS[min(8, max(0, height - 8 * level))] for height in heights.tolist())
        for level in reversed(range(rows))
    ]


def _marker_places(view: TuneView, bins: int) -> list[tuple[int, str, str]]:
    """Column, character and style of each threshold's line; the moved one is drawn last."""
    chosen = view.moves_reject
    places = [
        (view.drafted.review, "┊", "yellow", not chosen),
        (view.drafted.reject, "│", "red", chosen),
    ]
    places.sort(key=lambda place: place[3])
    return [
        (min(bins - 1, int(value * bins)), mark, f"bold {color}")
        for value, mark, color, _ in places
    ]


def _with_markers(bar: Text, marks: Sequence[tuple[int, str, str]]) -> Text:
    plain = list(bar.plain)
    for column, mark, _ in marks:
        plain[column] = mark
    bar.plain = "".join(plain)
    for column, _, style in marks:
        bar.stylize(style, column, column + 1)
    return bar


def _axis(view: TuneView, width: int) -> Text:
    bins = plot_bins(width)
    cells = ["─"] * bins
    for tenth in range(11):
        at = min(bins - 1, round(tenth / 10 * bins))
        words = f"{tenth / 10:g}"
        if tenth in (0, 10) or tenth % 2 == 0:
            start = min(at, bins - len(words))
            cells[start : start + len(words)] = list(words)
    line = Text(f"{'score':<{LANE_LABEL}}", "dim")
    line.append("".join(cells), "dim")
    for column, _, style in _marker_places(view, bins):
        at = LANE_LABEL + column
        line.plain = line.plain[:at] + "▲" + line.plain[at + 1 :]
        line.stylize(style, at, at + 1)
    return line


def _thresholds(view: TuneView) -> Text:
    line = Text()
    for name, now, was, chosen, color in (
        ("review", view.drafted.review, view.in_force.review, not view.moves_reject, "yellow"),
        ("reject", view.drafted.reject, view.in_force.reject, view.moves_reject, "red"),
    ):
        style = f"bold black on {color}" if chosen else f"bold {color}"
        line.append(f"{'▸' if chosen else ' '}{name} from {now:.3f} ", style)
        line.append(f" (in force {was:.3f})    " if now != was else "  in force    ", "dim")
    return line


def _table(view: TuneView) -> list[Text]:
    heads = ("pass", "review", "reject", "doubt", "yield")
    lines = [Text(f"{'':<12}" + "".join(f"{head:>12}" for head in heads), "dim")]
    for name, counts, style in (
        ("in force", view.was, "dim"),
        ("as drafted", view.would, "bold"),
    ):
        share = counts.yield_share
        cells = (counts.passed, counts.reviews, counts.rejects, counts.cannot_inspect)
        words = [f"{cell:>12,}" for cell in cells]
        words.append(f"{'none':>12}" if share is None else f"{share:>12.2%}")
        lines.append(Text(f"{name:<12}" + "".join(words), style))
    return lines


def _labels(view: TuneView) -> Text:
    """Mistakes on labelled parts, with exact 95 % intervals."""
    line = Text()
    for name, what, now, was in (
        ("false rejects", "good", view.would.false_rejects, view.was.false_rejects),
        ("escapes", "defective", view.would.escapes, view.was.escapes),
    ):
        line.append(f"{name} ", "dim")
        line.append(mistakes(now, what), "bold")
        change = now.count - was.count
        line.append(f" ({change:+d})" if change else "", "yellow")
        line.append("   ")
    return line


def mistakes(share: Share, what: str) -> str:
    """E.g. ``3 of 120: 2.5% [0.5, 7.1]``, with the exact 95 % interval in percent."""
    if share.rate is None:
        return f"no part labelled {what}"
    low, high = share.interval95
    return f"{share.count} of {share.of:,}: {share.rate:.1%} [{low * 100:.1f}, {high * 100:.1f}]"


def _filmstrip_head(view: TuneView) -> Text:
    if not view.flips:
        words = "no verdict changes; these parts are nearest to the threshold"
    else:
        words = f"{view.flips:,} verdicts change: {view.to_stricter:,} stricter, "
        words += f"{view.flips - view.to_stricter:,} milder"
    line = Text(words, "bold" if view.flips else "dim")
    if view.filmstrip_total:
        line.append(f"   part {view.filmstrip_number:,} of {view.filmstrip_total:,}", "dim")
    return line


def _captions(view: TuneView, width: int) -> list[Text]:
    """Two lines below each picture: id and score, change and label."""
    lines = [Text(), Text()]
    for place, part in enumerate(view.filmstrip[: thumbnails_across(width)]):
        chosen = place == view.filmstrip_chosen
        captions = (_caption(part, chosen=chosen), _change(part))
        for line, cell in zip(lines, captions, strict=True):
            cell.truncate(THUMBNAIL_COLUMNS, overflow="crop", pad=True)
            line.append_text(cell)
            line.append(" ")
    return lines


def _caption(part: FilmstripPart, *, chosen: bool) -> Text:
    caption = f"{short_id(part.part_id)} {part.score:.3f}"
    return Text(caption, "reverse bold" if chosen else "")


def short_id(part_id: int) -> str:
    """At most 7 characters; parts beside each other differ in their last digits."""
    digits = str(part_id)
    return digits if len(digits) <= 7 else f"…{digits[-6:]}"


def _change(part: FilmstripPart) -> Text:
    line = _verdict(part.after)
    if part.before != part.after:
        line = Text.assemble(_verdict(part.before), "→", line)
    if part.label is not None:
        line.append(f" {part.label.value[:6]}", _LABEL_STYLE[part.label])
    return line


def _verdict(code: int) -> Text:
    kind = VERDICTS[code]
    short = {"REJECT": "REJ", "REVIEW": "REV"}.get(kind.value, kind.value)
    return Text(short, VERDICT_STYLE[kind])


def _help(view: TuneView, width: int) -> Text:
    if view.message:
        line = Text(view.message, "bold yellow")
        line.truncate(width, overflow="ellipsis", pad=True)
        return line
    line = Text()
    for key, words in HELP:
        line.append(f" {key} ", "bold reverse")
        line.append(f"{words} ")
    return line


def summary(was: Outcome, would: Outcome) -> str:
    """One sentence: what applying would do to the recorded parts."""
    before, after = was.yield_share, would.yield_share
    if before is None or after is None:
        return "No parts recorded yet, so no prediction."
    return (
        f"Of {was.parts:,} recorded parts {would.rejects:,} would be rejected "
        f"(now {was.rejects:,}), {would.reviews:,} reviewed (now {was.reviews:,}); "
        f"yield {after:.2%} (now {before:.2%})."
    )
