"""The tuning screen: keys in, a ``TuneView`` out. Slow things happen in worker threads."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget

from edgeinspect.errors import EdgeInspectError, RecipeConflict
from edgeinspect.health.compare import Health
from edgeinspect.labels.label_store import Label, LabelKind
from edgeinspect.records.score_table import VERDICTS
from edgeinspect.screens.tune.dialogs import (
    CLOSE_COLUMNS,
    CLOSE_ROWS,
    PartNotice,
    ReasonDialog,
    health_notice,
    help_notice,
)
from edgeinspect.screens.tune.draft_thresholds import (
    COARSE_STEP,
    FINE_STEP,
    Draft,
    keep_quietly,
    restore_draft,
)
from edgeinspect.screens.tune.evidence import Evidence, Parts
from edgeinspect.screens.tune.follow import Follower
from edgeinspect.screens.tune.part_picture import (
    CLOSE_IMAGE_ID,
    FIRST_IMAGE_ID,
    MOST_FILM_BYTES,
    MOST_FILM_PX,
    Picture,
    Shown,
    as_strip,
    is_on_top,
    with_control,
)
from edgeinspect.screens.tune.source import InForce, TuneSource
from edgeinspect.screens.tune.tune_drawing import (
    FILM_WIDTH,
    draw,
    film_places,
    film_rows,
    film_top,
    fits,
    summary,
)
from edgeinspect.screens.tune.tune_state import Desk
from edgeinspect.screens.tune.tune_view import TuneView
from edgeinspect.terminal import kitty
from edgeinspect.terminal.graphics import MOST_CLOSE_BYTES, MOST_CLOSE_PX, Graphics, GraphicsKind

Result = TypeVar("Result")

HUNG_UP = 129
"""Exit code after SIGHUP: 128 and the signal's number, as a shell says it."""
POLL_S = 1.0
_HEALTH_S = 30.0
_KEEP_DRAFT_S = 1.0
_LAST_RESORT_S = 3.0
_CACHED_PICTURES = 64


class Canvas(Widget):
    """The whole screen but the pictures, drawn from a view; only lines that changed are sent."""

    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; }"
    can_focus = True
    # Here and not in the app: a priority binding, which Tab would need there, overtakes other keys.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,comma", f"app.step(-{FINE_STEP})", show=False),
        Binding("right,full_stop", f"app.step({FINE_STEP})", show=False),
        Binding("shift+left,less_than_sign", f"app.step(-{COARSE_STEP})", show=False),
        Binding("shift+right,greater_than_sign", f"app.step({COARSE_STEP})", show=False),
        Binding("tab", "app.other_threshold", show=False),
        Binding("c", "app.next_class(1)", show=False),
        Binding("C", "app.next_class(-1)", show=False),
        Binding("down", "app.next_part(1)", show=False),
        Binding("up", "app.next_part(-1)", show=False),
        Binding("enter", "app.look", show=False),
        Binding("g", "app.label('good')", show=False),
        Binding("d", "app.label('defective')", show=False),
        Binding("u", "app.label('unsure')", show=False),
        Binding("a", "app.apply", show=False),
        Binding("z", "app.undo", show=False),
        Binding("r", "app.reset", show=False),
        Binding("l", "app.live", show=False),
        Binding("h", "app.health", show=False),
        Binding("question_mark", "app.help", show=False),
        Binding("q", "app.leave", show=False),
    ]

    def __init__(self, view_for: Callable[[int, int], TuneView]) -> None:
        super().__init__()
        self._view_for = view_for
        self._lines: list[Strip] = []
        self._before = ""

    def show(self) -> None:
        """Look at the view again."""
        before, after = self._lines, self._look()
        changed = [y for y, line in enumerate(after) if y >= len(before) or line != before[y]]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def on_resize(self) -> None:
        self._look()
        self.refresh()

    def _look(self) -> list[Strip]:
        width, height = self.size
        lines: list[Text] = []
        if width and height:
            lines = draw(self._view_for(width, height), width=width, height=height)
        self._lines = [as_strip(self, line, width) for line in lines]
        return self._lines

    def forget(self, sequence: str) -> None:
        """What the terminal is told whenever the first line is drawn."""
        if sequence != self._before:
            self._before = sequence
            self.refresh()

    def render_line(self, y: int) -> Strip:
        return (
            self._lines[y]
            if y < len(self._lines)
            else Strip.blank(self.size.width, self.rich_style)
        )

    def render_lines(self, crop: Region) -> list[Strip]:
        strips = super().render_lines(crop)
        if crop.y == 0 and strips and is_on_top(self):
            return [with_control(strips[0], self._before), *strips[1:]]
        return strips


class TuneApp(App[int]):
    """Follow it with ``run()``; the return value is the exit code.

    Args:
        source: what it reads and does.
        draft_file: where a draft is kept that was not applied.
        follower: tells of the running line; None polls the records alone.
        is_live: begin by following the line.
        poll_s: how often records and state are looked at; None: only when ``poll`` is called.
        graphics: how the terminal shows pictures.
        driver_class: how textual reads and writes the terminal; None: its own way.
    """

    TITLE = "edgeinspect tune"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; layers: default film; }
    Picture.film { layer: film; position: absolute; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "leave", show=False)]

    def __init__(
        self,
        source: TuneSource,
        in_force: InForce,
        *,
        draft_file: Path,
        follower: Follower | None = None,
        is_live: bool = True,
        poll_s: float | None = POLL_S,
        graphics: Graphics | None = None,
        driver_class: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver_class)
        self._graphics = graphics or Graphics()
        self._film: list[Picture] = []
        self._poll_s = poll_s
        self._source = source
        self._draft_file = draft_file
        self._follower = follower
        self._is_live = is_live
        fresh = Draft(in_force=in_force.thresholds, drafted=in_force.thresholds)
        self.desk = Desk(in_force, restore_draft(draft_file, fresh))
        self._kept = self.desk.draft
        self._drawn: OrderedDict[tuple[int, int], Shown] = OrderedDict()
        self._drawing: set[tuple[int, int]] = set()
        self._turns: dict[str, threading.Lock] = {}
        self._health: Health | None = None
        self._state = "…"
        self._is_loading = True
        self._is_busy = False
        self._is_polling = False
        self.message = ""
        if self.desk.draft.is_changed:
            self.message = "Your draft from the last time is back; r drops it."

    def compose(self) -> ComposeResult:
        yield Canvas(self._view)

    def on_mount(self) -> None:
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        self.query_one(Canvas).focus()
        if self._follower is not None:
            self._follower.start()
        self._in_thread(self._load, self._loaded)
        self._in_thread(self._source.health, self._took_health)
        if self._poll_s is not None:
            self.set_interval(self._poll_s, self.poll)
            self.set_interval(_HEALTH_S, self._poll_health)
            self.set_interval(_KEEP_DRAFT_S, self._keep_draft)

    # --- what is shown ----------------------------------------------------------------------

    def on_resize(self) -> None:
        self.call_after_refresh(self._arrange)

    async def _arrange(self) -> None:
        """As many places for pictures as the terminal has room for."""
        width, height = self.size
        is_fit = fits(width=width, height=height)
        places = film_places(width) if is_fit else 0
        canvas = self._canvas()
        while len(self._film) < places:
            picture = Picture(self._graphics, FIRST_IMAGE_ID + len(self._film), classes="film")
            self._film.append(picture)
            await canvas.screen.mount(picture)
        for place, picture in enumerate(self._film):
            picture.display = place < places
            if place < places:
                picture.styles.offset = (place * (FILM_WIDTH + 1), film_top(height))
                picture.styles.width, picture.styles.height = FILM_WIDTH, film_rows(height)
        if self._graphics.kind is GraphicsKind.KITTY:
            hidden = range(FIRST_IMAGE_ID + places, FIRST_IMAGE_ID + len(self._film))
            canvas.forget(kitty.forget([CLOSE_IMAGE_ID, *hidden]))
        self._show()

    @property
    def image_ids(self) -> list[int]:
        """Under which kitty may hold pictures of this screen."""
        return [CLOSE_IMAGE_ID, *(FIRST_IMAGE_ID + place for place in range(len(self._film)))]

    def _canvas(self) -> Canvas:
        return self.screen_stack[0].query_one(Canvas)

    def _view(self, width: int, height: int) -> TuneView:
        return self.desk.view(
            width=width,
            state=self._state,
            is_live=self._is_live,
            is_loading=self._is_loading,
            last_part=self._follower.last_part if self._follower and self._is_live else "",
            health="" if self._health is None else self._health.state.value,
            message=self.message,
        )

    def _picture(self, part_id: int, rows: int) -> Shown | None:
        key = (part_id, rows)
        shown = self._drawn.get(key)
        if shown is None and key not in self._drawing:
            self._drawing.add(key)
            self._in_thread(
                partial(
                    self._drawing_of,
                    part_id,
                    columns=FILM_WIDTH,
                    rows=rows,
                    most_px=MOST_FILM_PX,
                    most_bytes=MOST_FILM_BYTES,
                ),
                partial(self._took_drawing, key),
                group="film",
            )
        return shown

    def _drawing_of(
        self, part_id: int, *, columns: int, rows: int, most_px: int, most_bytes: int
    ) -> Shown:
        width, height = self._graphics.size_px(columns=columns, rows=rows, most_px=most_px)
        drawn = self._source.draw(part_id, width=width, height=height)
        if drawn.picture is None:
            return Shown(drawn)
        encoded = self._graphics.encode(
            drawn.picture, columns=columns, rows=rows, most_px=most_px, most_bytes=most_bytes
        )
        return Shown(drawn, encoded)

    def _show(self) -> None:
        if len(self.screen_stack) > 1:
            return  # lines under a dialog would wipe out its picture; it closes with ``_show``
        self._canvas().show()
        width, height = self.size
        if not fits(width=width, height=height):
            return
        _, film = self.desk.film(film_places(width))
        rows = film_rows(height)
        for place, picture in enumerate(self._film):
            if place < len(film):
                picture.show(self._picture(film[place].part_id, rows))
            else:
                picture.show(None, is_used=False)

    def _open(
        self, dialog: ModalScreen[Result], then: Callable[[Result | None], object] | None = None
    ) -> None:
        def closed(result: Result | None) -> None:
            if then is not None:
                then(result)
            self.call_after_refresh(self._show)

        self.push_screen(dialog, closed)

    def _say(self, message: str) -> None:
        self.message = message
        self._show()

    # --- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys do nothing blindly, on a terminal that is too small."""
        del parameters
        if action == "leave":
            return True
        own = f"action_{action}" in TuneApp.__dict__
        width, height = self.size
        return not own or fits(width=width, height=height)

    def action_step(self, change: float) -> None:
        self._change(self.desk.draft.step(change))

    def action_other_threshold(self) -> None:
        self._change(self.desk.draft.other_threshold())

    def action_next_class(self, by: int) -> None:
        self._change(self.desk.draft.next_class(by))

    def action_reset(self) -> None:
        self._change(self.desk.draft.reset())

    def _change(self, draft: Draft) -> None:
        self.desk.draft = draft
        self.message = ""
        self.desk.judge()
        self._show()

    def action_next_part(self, by: int) -> None:
        self.desk.choose_next(by)
        self._say("")

    def action_live(self) -> None:
        self._is_live = not self._is_live
        self._say("Following the line." if self._is_live else "Standing still; l follows again.")

    def action_help(self) -> None:
        self._open(help_notice(self._graphics))

    def action_health(self) -> None:
        if self._health is None:
            self._say("Health is still being looked at.")
        else:
            self._open(health_notice(self._health, self._graphics))

    def action_leave(self) -> None:
        self._finish(0)

    def action_label(self, kind: str) -> None:
        part_id = self.desk.chosen_part()
        if part_id is None:
            self._say("There is no part to label.")
            return
        what = LabelKind(kind)
        of_class = self.desk.draft.limit.name if what is LabelKind.DEFECTIVE else ""
        self._in_thread(partial(self._source.label, part_id, what, of_class), self._labelled)

    def _labelled(self, label: Label) -> None:
        self.desk.evidence.put_label(label)
        self.desk.judge()
        words = f"{label.kind.value} {label.defect_class}".strip()
        self._say(f"Part {label.part_id} is labelled {words}.")

    def action_look(self) -> None:
        part = self.desk.chosen()
        if part is None:
            return
        verdict = VERDICTS[part.after].value.replace("_", " ")
        name = self.desk.draft.limit.name
        title = f"Part {part.part_id}: {name} {part.score:.3f}, {verdict} as drafted"
        self._in_thread(
            partial(
                self._drawing_of,
                part.part_id,
                columns=CLOSE_COLUMNS,
                rows=CLOSE_ROWS,
                most_px=MOST_CLOSE_PX,
                most_bytes=MOST_CLOSE_BYTES,
            ),
            lambda shown: self._open(PartNotice(title, shown, self._graphics)),
            group="film",
        )

    # --- apply and undo -----------------------------------------------------------------------

    def action_apply(self) -> None:
        if not self.desk.draft.is_changed:
            self._say("Nothing is drafted: move a threshold first.")
        elif self._is_busy:
            self._say("A change is being made; wait for it.")
        else:
            in_force = self.desk.in_force
            title = f"Apply as a new revision of {in_force.product}, after {in_force.revision}"
            explanation = summary(self.desk.was, self.desk.would)
            self._open(ReasonDialog(title, explanation, self._graphics), self._apply)

    def _apply(self, reason: str | None) -> None:
        if reason is None:
            self._say("Nothing was applied.")
            return
        drafted, base = self.desk.draft.drafted, self.desk.in_force
        self._do(partial(self._source.apply, drafted, reason, base=base), "Applying …")

    def action_undo(self) -> None:
        if self._is_busy:
            self._say("A change is being made; wait for it.")
            return
        before = self.desk.in_force.revision
        title = f"Undo: back to the revision in force before {before}"
        explanation = "The line takes it at once. A draft stays drafted."
        self._open(ReasonDialog(title, explanation, self._graphics), self._undo)

    def _undo(self, reason: str | None) -> None:
        if reason is None:
            self._say("Nothing was undone.")
        else:
            self._do(partial(self._source.undo, reason, base=self.desk.in_force), "Undoing …")

    def _do(self, change: Callable[[], str], meanwhile: str) -> None:
        def work() -> tuple[str, InForce]:
            try:
                sentence = change()
            except RecipeConflict as error:
                sentence = str(error)
            return sentence, self._source.in_force()

        self._is_busy = True
        self._say(meanwhile)
        self._in_thread(work, self._done, group="change")

    def _done(self, result: tuple[str, InForce]) -> None:
        sentence, in_force = result
        self._is_busy = False
        self.desk.take_in_force(in_force)
        self._say(sentence)

    # --- what happens meanwhile -----------------------------------------------------------------

    def _load(self) -> Evidence:
        evidence = Evidence(self._source.parts(), self._source.labels())
        self.desk.pictured = self._source.pictured()
        return evidence

    def _loaded(self, evidence: Evidence) -> None:
        self.desk.evidence = evidence
        self._is_loading = False
        if not len(evidence.parts) and not self.message:
            self.message = "No part has been recorded under this recipe's model yet."
        self.desk.judge()
        self._show()

    def poll(self) -> None:
        """Once a second: the station's state and, in live mode, its new parts."""
        if self._is_polling or self._is_loading:
            return
        follower = self._follower
        recipe = follower is not None and follower.take_recipe() and not self._is_busy
        news = self._is_live and (follower is None or follower.take_news())
        after = self.desk.evidence.parts.last_part_id

        def work() -> tuple[str, Parts | None, InForce | None]:
            fresh = None
            if news:
                fresh = self._source.parts(after)
                self.desk.pictured = self._source.pictured()
            return self._source.state(), fresh, self._source.in_force() if recipe else None

        self._is_polling = True
        self._in_thread(work, self._polled, group="poll")

    def _polled(self, result: tuple[str, Parts | None, InForce | None]) -> None:
        self._is_polling = False
        self._state, fresh, in_force = result
        if fresh is not None and self.desk.evidence.add(fresh):
            self.desk.judge()
        if in_force is not None and in_force.revision != self.desk.in_force.revision:
            self.message = f"Revision {in_force.revision} came into force from somewhere else."
            self.desk.take_in_force(in_force)
        self._show()

    def _poll_health(self) -> None:
        self._in_thread(self._source.health, self._took_health, group="health")

    def _took_health(self, health: Health) -> None:
        self._health = health
        self._show()

    def _took_drawing(self, key: tuple[int, int], shown: Shown) -> None:
        self._drawing.discard(key)
        self._drawn[key] = shown
        while len(self._drawn) > _CACHED_PICTURES:
            self._drawn.popitem(last=False)
        self._show()

    def _in_thread(
        self,
        work: Callable[[], Result],
        then: Callable[[Result], object],
        *,
        group: str = "default",
    ) -> None:
        """Do slow work in a thread, one at a time in each group; ``then`` runs on the screen."""

        def job() -> None:
            try:
                with self._turns.setdefault(group, threading.Lock()):
                    result = work()
            except EdgeInspectError as error:
                self._call(partial(self._failed, str(error)))
            else:
                self._call(partial(then, result))

        self.run_worker(job, thread=True, group=group, exit_on_error=True)

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the screen has been left meanwhile
            self.call_from_thread(function)

    def _failed(self, sentence: str) -> None:
        self._is_busy = self._is_loading = self._is_polling = False
        self._say(sentence)

    # --- the end ---------------------------------------------------------------------------------

    def _keep_draft(self) -> None:
        draft = self.desk.draft
        if draft != self._kept and keep_quietly(self._draft_file, draft):
            self._kept = draft

    def _finish(self, code: int) -> None:
        self._keep_draft()
        if self._follower is not None:
            self._follower.stop()
        self.exit(code)

    def _hang_up(self) -> None:
        """The connection broke: keep the draft, and be gone even if the terminal takes nothing."""
        last_resort = threading.Timer(_LAST_RESORT_S, os._exit, (HUNG_UP,))
        last_resort.daemon = True
        last_resort.start()
        self._finish(HUNG_UP)
