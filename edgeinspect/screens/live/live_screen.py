"""The live screen: belt, last reject with its score map, counts, stages. Fits 80 x 24."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeinspect.drawing.canvas import small_overlay
from edgeinspect.part import GateOutcome, PartRecord, VerdictKind
from edgeinspect.runtime.line_view import Picture
from edgeinspect.screens.live.live_view import BeltPart, LastPart, LiveView
from edgeinspect.terminal.half_blocks import half_blocks
from edgeinspect.terminal.words import VERDICT_STYLE, verdict_text

_FIRST_NS, _LAST_NS = -160_000_000, 1_440_000_000
_FIXED_LINES = 9
_STAGES = {
    "trigger_to_frame": "trigger to frame",
    "frame_to_verdict": "frame to verdict",
    "invoke": "in the model",
    "margin": "time left",
}
_OUTCOME = {
    GateOutcome.PASSED: ("", ""),
    GateOutcome.REJECTED: ("", ""),
    GateOutcome.REJECT_CONFIRMED: ("✓", "green"),
    GateOutcome.REJECT_UNCONFIRMED: ("not confirmed", "bold red"),
    GateOutcome.GATE_LIMITED: ("gate limited", "bold red"),
    GateOutcome.LOST: ("lost", "bold red"),
}


class LiveScreen:
    """Draws one moment after another and keeps the last picture that it has drawn."""

    def __init__(self) -> None:
        """Begin without a picture."""
        self._drawn: tuple[object, Text] | None = None

    def render(self, view: LiveView, *, width: int = 80, height: int = 24) -> RenderableType:
        """Draw the screen for a terminal of this size in characters."""
        body_lines = max(6, height - _FIXED_LINES)
        picture_width = max(20, min(width // 2 - 2, (body_lines - 1) * 8 // 3))
        body = Table.grid(padding=(0, 2, 0, 0))
        body.add_column(width=picture_width)
        body.add_column(width=max(10, width - picture_width - 2))
        body.add_row(
            self._picture(view.picture, picture_width, body_lines),
            _facts(view, lines=body_lines, width=width - picture_width - 2),
        )
        return Group(_heading(view, width), *_belt(view, width), body)

    def _picture(self, picture: Picture | None, width: int, lines: int) -> RenderableType:
        if picture is None:
            return Text("No part has been rejected yet.", "dim")
        key = (picture.record.part_id, width, lines)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (key, _draw(picture, width, lines - 1))
        return Group(_caption(picture.record), self._drawn[1])


def _draw(picture: Picture, width: int, lines: int) -> Text:
    height, full = picture.frame.pixels.shape[0], picture.frame.pixels.shape[1]
    rows = min(lines * 2, max(2, round(width * height / full)))
    columns = max(2, min(width, round(rows * full / height)))
    return half_blocks(
        small_overlay(picture.frame.pixels, picture.score_map, width=columns, height=rows)
    )


def _caption(record: PartRecord) -> Text:
    text = Text(f"part {record.part_id} ", no_wrap=True, overflow="ellipsis")
    text.append_text(verdict_text(record.verdict.kind))
    text.append(f" {record.verdict.reason.replace('_', ' ')}")
    if record.verdict.defect_class:
        text.append(f" {record.verdict.score:.2f}", "dim")
    return text


def _heading(view: LiveView, width: int) -> Text:
    total = f" of {view.parts_total}" if view.parts_total is not None else ""
    minutes, seconds = divmod(int(view.elapsed_s), 60)
    right = f"{view.parts_done}{total} parts  {minutes}:{seconds:02d}"
    state_style = "bold green" if view.state == "inspecting" else "bold yellow"
    left = Text(view.title, "bold", no_wrap=True, overflow="ellipsis")
    left.append("  ")
    left.append(view.state if view.belt_moves else f"{view.state}, belt stopped", state_style)
    left.truncate(max(10, width - len(right) - 2), overflow="ellipsis", pad=True)
    return Text.assemble(left, "  ", right)


def _belt(view: LiveView, width: int) -> list[Text]:
    def column(at_ns: int) -> int:
        return round((at_ns - _FIRST_NS) * (width - 1) / (_LAST_NS - _FIRST_NS))

    places = {name: column(at_ns) for name, at_ns in view.places_ns.items()}
    gate = places.get("gate", width)
    word, style = ("open", "green") if view.gate_open else ("rejecting", "red")
    edge = "━" * width
    upper, lower = Text(edge, "bright_black"), Text(edge, "bright_black")
    lower.plain = lower.plain[:gate] + "┃" + " " + "┃" + lower.plain[gate + 3 :]
    lower.stylize(style, gate, gate + 3)
    chute = [part for part in view.belt if part.in_chute]
    return [
        _labels(places, width, gate_word=word, gate_style=style),
        upper,
        _lane((part for part in view.belt if not part.in_chute), column, width, places),
        lower,
        _chute(chute, gate, width),
        Text(""),
    ]


def _labels(places: Mapping[str, int], width: int, *, gate_word: str, gate_style: str) -> Text:
    """Write names above their places: trigger and guard end there, lens and gate begin there."""
    cells = [" "] * width
    for name, shown, ends in (
        ("trigger", "trigger▼", True),
        ("lens", "▼camera", False),
        ("guard", "guard▼", True),
        ("gate", f"▼gate {gate_word}", False),
    ):
        if name not in places:
            continue
        first = places[name] - (len(shown) - 1 if ends else 0)
        for offset, letter in enumerate(shown):
            if 0 <= first + offset < width:
                cells[first + offset] = letter
    text = Text("".join(cells), "bright_black", no_wrap=True)
    if "gate" in places:
        text.stylize(gate_style, places["gate"], width)
    return text


def _lane(
    parts: Iterable[BeltPart],
    column: Callable[[int], int],
    width: int,
    places: Mapping[str, int],
) -> Text:
    text = Text(" " * width, no_wrap=True)
    cells = [" "] * width
    styles: list[tuple[int, str]] = []
    for name in ("trigger", "lens", "guard"):
        if 0 <= places.get(name, -1) < width:
            cells[places[name]] = "┊"
            styles.append((places[name], "bright_black"))
    for part in parts:
        style = "white" if part.verdict is None else VERDICT_STYLE[part.verdict]
        for at in (column(part.at_ns) - 1, column(part.at_ns)):
            if 0 <= at < width:
                cells[at] = "█"
                styles.append((at, style))
    text.plain = "".join(cells)
    for at, style in styles:
        text.stylize(style, at, at + 1)
    return text


def _chute(parts: list[BeltPart], gate: int, width: int) -> Text:
    text = Text(" " * max(0, min(gate, width - 4)), no_wrap=True)
    text.append("┃", "bright_black")
    style = VERDICT_STYLE[parts[-1].verdict] if parts and parts[-1].verdict else "white"
    text.append("█" if parts else " ", style)
    text.append("┃", "bright_black")
    return text


def _facts(view: LiveView, *, lines: int, width: int) -> RenderableType:
    """List counts, reasons, stages and faults, then as many of the last parts as fit."""
    shown = [_counts(view), _reasons(view)]
    shown += _stage_lines(view.stages_us)
    if view.faults:
        shown.append(_faults(view))
    room = max(0, lines - len(shown) - 1)
    if room:
        shown.append(Text(""))
        shown += [_part_line(part) for part in view.last[:room]]
    for text in shown:
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
    return Group(*shown)


def _counts(view: LiveView) -> Text:
    inspected = max(1, sum(view.counts.get(kind.value, 0) for kind in VerdictKind))
    text = Text("yield ")
    text.append(f"{view.passed / inspected:.1%}", "bold green")
    for name, style, word in (
        ("REJECT", "bold red", "reject"),
        ("REVIEW", "yellow", "review"),
        ("CANNOT_INSPECT", "magenta", "doubt"),
    ):
        if count := view.counts.get(name, 0):
            text.append(f"  {word} ")
            text.append(str(count), style)
    return text


def _reasons(view: LiveView) -> Text:
    if not view.reasons:
        return Text("no rejects yet", "dim")
    ordered = sorted(view.reasons.items(), key=lambda item: -item[1])
    return Text(", ".join(f"{name.replace('_', ' ')} {n}" for name, n in ordered))


def _stage_lines(stages_us: Mapping[str, Mapping[str, float]]) -> list[Text]:
    header = Text(f"{'ms':<20}{'p50':>7}{'p99':>8}", "bright_black")
    lines = [header]
    for stage, words in _STAGES.items():
        spread = stages_us.get(stage)
        if spread:
            low = spread["p50"] / 1000
            tail = spread["p99"] / 1000
            # For the time left only the smallest values matter; its high percentiles say nothing.
            shown = "" if stage == "margin" else f"{tail:>8.1f}"
            lines.append(Text(f"{words:<20}{low:>7.1f}{shown}"))
    return lines


def _faults(view: LiveView) -> Text:
    text = Text("faults ", "bright_black")
    for name, count in view.faults.items():
        style = "bold red" if name in view.lasting else "yellow"
        text.append(f"{name.replace('_', ' ')} {count}  ", style)
    return text


def _part_line(part: LastPart) -> Text:
    text = Text(f"{part.part_id:>5} ")
    text.append_text(verdict_text(part.verdict))
    if part.reason:
        text.append(f" {part.reason.replace('_', ' ')}")
    if part.score is not None:
        text.append(f" {part.score:.2f}", "bright_black")
    words, style = _OUTCOME[part.outcome]
    text.append(f" {words}", style)
    return text
