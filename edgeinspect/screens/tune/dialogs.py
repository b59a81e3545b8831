"""Dialogs over the tuning screen: the reason of a change, help, health, one part."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from edgeinspect.health.compare import Health
from edgeinspect.health.station_health import state_text, worst_first
from edgeinspect.screens.tune.part_picture import CLOSE_IMAGE_ID, Heading, Picture, Shown
from edgeinspect.terminal.graphics import Graphics

LONGEST_REASON = 200
CLOSE_COLUMNS, CLOSE_ROWS = 72, 18
"""Cells of the picture in a closer look."""
KEYS = (
    ("←  →   or  ,  .", "move the chosen threshold by 0.001"),
    ("Shift ←  →   or  <  >", "move it by 0.02"),
    ("Tab", "choose review or reject"),
    ("c  C", "next or previous class"),
    ("↑  ↓", "choose a part in the filmstrip"),
    ("Enter", "show the chosen part"),
    ("g  d  u", "label it good, defective (this class) or unsure"),
    ("a", "apply the draft; asks for a reason"),
    ("z", "undo: return to the previous revision; asks for a reason"),
    ("r", "discard the draft: back to the recipe in force"),
    ("l", "start or stop following the line"),
    ("h", "health and advice"),
    ("q", "quit; a draft that was not applied is kept"),
)
_BOX = """
    align: center middle;
    & > VerticalScroll { background: $surface; border: round $primary; padding: 0 1; width: 76;
            max-height: 22; height: auto; }
"""


class ReasonDialog(ModalScreen[str | None]):
    """Asks for a reason; gives it back, or None if the person changed their mind."""

    DEFAULT_CSS = f"ReasonDialog {{ {_BOX} & Input {{ height: 3; }} }}"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss_none", "Cancel")]

    def __init__(self, title: str, explanation: str, graphics: Graphics) -> None:
        super().__init__()
        self._graphics = graphics
        self._title = title
        self._explanation = explanation

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with VerticalScroll():
            yield Heading(Text(self._title, "bold"), self._graphics)
            yield Static(Text(self._explanation))
            yield Input(placeholder="Reason, e.g. shift 2: missed chips at the rim")
            yield Static(Text("Enter: confirm    Esc: cancel", "dim"), id="hint")

    def on_mount(self) -> None:
        """Put the cursor into the input field."""
        box = self.query_one(Input)
        box.max_length = LONGEST_REASON
        box.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close the dialog with the reason, if one was typed."""
        reason = event.value.strip()
        if reason:
            self.dismiss(reason)
        else:
            hint = Text("Enter a reason; it is stored with the revision. Esc: cancel", "bold red")
            self.query_one("#hint", Static).update(hint)

    def action_dismiss_none(self) -> None:
        """Close the dialog without a reason."""
        self.dismiss(None)


class Notice(ModalScreen[None]):
    """Something to read; any of the usual keys closes it."""

    DEFAULT_CSS = f"Notice {{ {_BOX} }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,enter,q,space,question_mark,h", "close", "Close")
    ]

    def __init__(self, title: str, body: Text, graphics: Graphics) -> None:
        super().__init__()
        self._title = title
        self._body = body
        self._graphics = graphics

    def compose(self) -> ComposeResult:
        """Lay out the page."""
        with VerticalScroll():
            yield Heading(Text(self._title, "bold"), self._graphics)
            yield Static(self._body)

    def action_close(self) -> None:
        """Close the page."""
        self.dismiss(None)


class PartNotice(Notice):
    """A closer look at one part."""

    DEFAULT_CSS = f"PartNotice Picture {{ width: {CLOSE_COLUMNS}; height: {CLOSE_ROWS}; }}"

    def __init__(self, title: str, shown: Shown, graphics: Graphics) -> None:
        super().__init__(title, Text(shown.drawn.note, "yellow"), graphics)
        self._shown = shown

    def compose(self) -> ComposeResult:
        """Lay out the page with the part's picture."""
        with VerticalScroll():
            yield Heading(Text(self._title, "bold"), self._graphics)
            if self._shown.drawn.picture is not None:
                picture = Picture(self._graphics, CLOSE_IMAGE_ID)
                picture.show(self._shown)
                yield picture
            if self._body:
                yield Static(self._body)


def help_notice(graphics: Graphics) -> Notice:
    """Return the help page."""
    body = Text("\n")
    for key, words in KEYS:
        body.append(f"{key:<24}", "bold cyan")
        body.append(f"{words}\n")
    body.append("\nEverything here is also a command: edgeinspect tune --help", "dim")
    return Notice("Keys", body, graphics)


def health_notice(health: Health, graphics: Graphics) -> Notice:
    """Return the page with the health of the station."""
    body = Text("\n")
    for item in worst_first(health.items):
        body.append_text(state_text(item.state))
        body.append(" " * (9 - len(item.state.value)) + f"{item.name}: ", "bold")
        body.append(f"{item.detail}\n")
        if item.next_action:
            body.append(f"         → {item.next_action}\n", "yellow")
    return Notice("Health", body, graphics)
