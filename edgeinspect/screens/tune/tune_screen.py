"""The tuning screen: keys, dialogs and news from the station. Slow work runs in threads."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.screen import ModalScreen

from edgeinspect.errors import RecipeConflict
from edgeinspect.health.compare import Health
from edgeinspect.labels.label_store import Label, LabelKind
from edgeinspect.records.score_table import VERDICTS
from edgeinspect.screens.tune.background_tasks import BackgroundTasks
from edgeinspect.screens.tune.dialogs import (
    CLOSE_COLUMNS,
    CLOSE_ROWS,
    PartNotice,
    ReasonDialog,
    health_notice,
    help_notice,
)
from edgeinspect.screens.tune.draft_thresholds import Draft, keep_quietly, restore_draft
from edgeinspect.screens.tune.evidence import Evidence, Parts
from edgeinspect.screens.tune.filmstrip import Filmstrip
from edgeinspect.screens.tune.follow import Follower
from edgeinspect.screens.tune.part_picture import CLOSE_IMAGE_ID
from edgeinspect.screens.tune.source import InForce, TuneSource
from edgeinspect.screens.tune.tune_canvas import Canvas
from edgeinspect.screens.tune.tune_drawing import fits, summary, thumbnails_across
from edgeinspect.screens.tune.tune_state import TuneState
from edgeinspect.screens.tune.tune_view import TuneView
from edgeinspect.terminal import kitty
from edgeinspect.terminal.graphics import MAX_CLOSE_BYTES, MAX_CLOSE_PX, Graphics, GraphicsKind

Result = TypeVar("Result")

HUNG_UP = 129
"""Exit code after SIGHUP: 128 and the signal's number, as a shell says it."""
POLL_S = 1.0
_HEALTH_S = 30.0
_KEEP_DRAFT_S = 1.0
_LAST_RESORT_S = 3.0


class TuneApp(App[int]):
    """The screen; ``run()`` returns the exit code.

    Args:
        source: What the screen reads and changes.
        draft_file: Keeps a draft that was not applied.
        follower: Reports events of the running line; None polls the records only.
        is_live: Begin by following the line.
        poll_s: How often to look at records and state; None only when ``poll`` is called.
        graphics: How the terminal shows pictures.
        driver_class: How textual reads and writes the terminal; None takes its own driver.
    """

    TITLE = "edgeinspect tune"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; layers: default filmstrip; }
    Picture.filmstrip { layer: filmstrip; position: absolute; }
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
        self._tasks = BackgroundTasks(self, on_error=self._show_message)
        self._filmstrip = Filmstrip(source, self._graphics, self._tasks, on_loaded=self._show)
        self._poll_s = poll_s
        self._source = source
        self._draft_file = draft_file
        self._follower = follower
        self._is_live = is_live
        fresh = Draft(in_force=in_force.thresholds, drafted=in_force.thresholds)
        self.tuning = TuneState(in_force, restore_draft(draft_file, fresh))
        self._kept = self.tuning.draft
        self._health: Health | None = None
        self._state = "…"
        self.message = ""
        if self.tuning.draft.is_changed:
            self.message = "Your last draft was restored; press r to discard it."

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Canvas(self._view)

    def on_mount(self) -> None:
        """Start to follow the station."""
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        self.query_one(Canvas).focus()
        if self._follower is not None:
            self._follower.start()
        self._tasks.start("load", self._load, self._loaded)
        self.poll_health()
        if self._poll_s is not None:
            self.set_interval(self._poll_s, self.poll)
            self.set_interval(_HEALTH_S, self.poll_health)
            self.set_interval(_KEEP_DRAFT_S, self._keep_draft)

    # --- display ----------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Arrange the screen again."""
        self.call_after_refresh(self._arrange)

    async def _arrange(self) -> None:
        """Show as many pictures as the terminal has room for."""
        width, height = self.size
        places = thumbnails_across(width) if fits(width=width, height=height) else 0
        canvas = self._canvas()
        hidden = await self._filmstrip.arrange(canvas.screen, places=places, height=height)
        if self._graphics.kind is GraphicsKind.KITTY:
            canvas.forget(kitty.forget([CLOSE_IMAGE_ID, *hidden]))
        self._show()

    @property
    def image_ids(self) -> list[int]:
        """The ids under which kitty may hold pictures of this screen."""
        return [CLOSE_IMAGE_ID, *self._filmstrip.image_ids]

    def _canvas(self) -> Canvas:
        return self.screen_stack[0].query_one(Canvas)

    def _view(self, width: int, height: int) -> TuneView:
        return self.tuning.view(
            width=width,
            state=self._state,
            is_live=self._is_live,
            is_loading=self._tasks.is_running("load"),
            last_part=self._follower.last_part if self._follower and self._is_live else "",
            health="" if self._health is None else self._health.state.value,
            message=self.message,
        )

    def _show(self) -> None:
        if len(self.screen_stack) > 1:
            return  # lines under a dialog would wipe out its picture; it closes with ``_show``
        self._canvas().show()
        width, height = self.size
        if not fits(width=width, height=height):
            return
        _, parts = self.tuning.filmstrip(thumbnails_across(width))
        self._filmstrip.show(parts, height=height)

    def _open(
        self, dialog: ModalScreen[Result], then: Callable[[Result | None], object] | None = None
    ) -> None:
        def closed(result: Result | None) -> None:
            if then is not None:
                then(result)
            self.call_after_refresh(self._show)

        self.push_screen(dialog, closed)

    def _show_message(self, message: str) -> None:
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
        """Move the chosen threshold."""
        self._change(self.tuning.draft.step(change))

    def action_other_threshold(self) -> None:
        """Switch between the review and the reject threshold."""
        self._change(self.tuning.draft.other_threshold())

    def action_next_class(self, by: int) -> None:
        """Choose another class."""
        self._change(self.tuning.draft.next_class(by))

    def action_reset(self) -> None:
        """Reset the draft to the thresholds in force."""
        self._change(self.tuning.draft.reset())

    def _change(self, draft: Draft) -> None:
        self.tuning.draft = draft
        self.message = ""
        self.tuning.judge()
        self._show()

    def action_next_part(self, by: int) -> None:
        """Choose another part."""
        self.tuning.choose_next(by)
        self._show_message("")

    def action_live(self) -> None:
        """Follow the line, or stop following it."""
        self._is_live = not self._is_live
        self._show_message(
            "Following the line." if self._is_live else "Standing still; l follows again."
        )

    def action_help(self) -> None:
        """Show the help page."""
        self._open(help_notice(self._graphics))

    def action_health(self) -> None:
        """Show the health page."""
        if self._health is None:
            self._show_message("The health check is still running.")
        else:
            self._open(health_notice(self._health, self._graphics))

    def action_leave(self) -> None:
        """Leave the screen."""
        self._finish(0)

    def action_label(self, kind: str) -> None:
        """Label the chosen part."""
        part_id = self.tuning.chosen_part()
        if part_id is None:
            self._show_message("No part is chosen.")
            return
        what = LabelKind(kind)
        of_class = self.tuning.draft.limit.name if what is LabelKind.DEFECTIVE else ""
        label = partial(self._source.label, part_id, what, of_class)
        self._tasks.start("label", label, self._labelled, after="load")

    def _labelled(self, label: Label) -> None:
        self.tuning.evidence.put_label(label)
        self.tuning.judge()
        words = f"{label.kind.value} {label.defect_class}".strip()
        self._show_message(f"Part {label.part_id} is labelled {words}.")

    def action_look(self) -> None:
        """Show the chosen part in full size."""
        part = self.tuning.chosen()
        if part is None:
            return
        verdict = VERDICTS[part.after].value.replace("_", " ")
        name = self.tuning.draft.limit.name
        title = f"Part {part.part_id}: {name} {part.score:.3f}, {verdict} as drafted"
        load = partial(
            self._filmstrip.load,
            part.part_id,
            columns=CLOSE_COLUMNS,
            rows=CLOSE_ROWS,
            max_px=MAX_CLOSE_PX,
            max_bytes=MAX_CLOSE_BYTES,
        )
        self._tasks.start(
            "close-up",
            load,
            lambda shown: self._open(PartNotice(title, shown, self._graphics)),
            after="picture",
        )

    # --- apply and undo -----------------------------------------------------------------------

    def action_apply(self) -> None:
        """Ask for a reason and apply the draft."""
        if not self.tuning.draft.is_changed:
            self._show_message("There is no draft yet: move a threshold first.")
        elif self._tasks.is_running("change"):
            self._show_message("Another change is still running; wait for it.")
        else:
            in_force = self.tuning.in_force
            title = f"Apply as a new revision of {in_force.product}, after {in_force.revision}"
            explanation = summary(self.tuning.was, self.tuning.would)
            self._open(ReasonDialog(title, explanation, self._graphics), self._apply)

    def _apply(self, reason: str | None) -> None:
        if reason is None:
            self._show_message("The draft was not applied.")
            return
        drafted, base = self.tuning.draft.drafted, self.tuning.in_force
        self._do(partial(self._source.apply, drafted, reason, base=base), "Applying …")

    def action_undo(self) -> None:
        """Ask for a reason and go back to the previous revision."""
        if self._tasks.is_running("change"):
            self._show_message("Another change is still running; wait for it.")
            return
        before = self.tuning.in_force.revision
        title = f"Undo: back to the revision in force before {before}"
        explanation = "The line uses it at once. A draft is kept."
        self._open(ReasonDialog(title, explanation, self._graphics), self._undo)

    def _undo(self, reason: str | None) -> None:
        if reason is None:
            self._show_message("The revision was not undone.")
        else:
            self._do(partial(self._source.undo, reason, base=self.tuning.in_force), "Undoing …")

    def _do(self, change: Callable[[], str], meanwhile: str) -> None:
        def work() -> tuple[str, InForce]:
            try:
                sentence = change()
            except RecipeConflict as error:
                sentence = str(error)
            return sentence, self._source.in_force()

        self._tasks.start("change", work, self._done)
        self._show_message(meanwhile)

    def _done(self, result: tuple[str, InForce]) -> None:
        sentence, in_force = result
        self.tuning.take_in_force(in_force)
        self._show_message(sentence)

    # --- what happens meanwhile -----------------------------------------------------------------

    def _load(self) -> Evidence:
        evidence = Evidence(self._source.parts(), self._source.labels())
        self.tuning.pictured = self._source.pictured()
        return evidence

    def _loaded(self, evidence: Evidence) -> None:
        self.tuning.evidence = evidence
        if not len(evidence.parts) and not self.message:
            self.message = "No part has been recorded under this recipe's model yet."
        self.tuning.judge()
        self._show()

    def poll(self) -> None:
        """Once a second: the station's state and, in live mode, its new parts."""
        if self._tasks.is_running("poll") or self._tasks.is_running("load"):
            return
        follower = self._follower
        recipe = (
            follower is not None and follower.take_recipe() and not self._tasks.is_running("change")
        )
        news = self._is_live and (follower is None or follower.take_news())
        after = self.tuning.evidence.parts.last_part_id

        def work() -> tuple[str, Parts | None, InForce | None]:
            fresh = None
            if news:
                fresh = self._source.parts(after)
                self.tuning.pictured = self._source.pictured()
            return self._source.state(), fresh, self._source.in_force() if recipe else None

        self._tasks.start("poll", work, self._polled)

    def _polled(self, result: tuple[str, Parts | None, InForce | None]) -> None:
        self._state, fresh, in_force = result
        if fresh is not None and self.tuning.evidence.add(fresh):
            self.tuning.judge()
        if in_force is not None and in_force.revision != self.tuning.in_force.revision:
            self.message = f"Revision {in_force.revision} was activated outside this screen."
            self.tuning.take_in_force(in_force)
        self._show()

    def poll_health(self) -> None:
        """Now and then: how station and records are doing."""
        self._tasks.start("health", self._source.health, self._took_health)

    def _took_health(self, health: Health) -> None:
        self._health = health
        self._show()

    # --- the end ---------------------------------------------------------------------------------

    def _keep_draft(self) -> None:
        draft = self.tuning.draft
        if draft != self._kept and keep_quietly(self._draft_file, draft):
            self._kept = draft

    def _finish(self, code: int) -> None:
        self._keep_draft()
        if self._follower is not None:
            self._follower.stop()
        self.exit(code)

    def _hang_up(self) -> None:
        """Keep the draft and exit, even if the terminal of a lost connection accepts no output."""
        last_resort = threading.Timer(_LAST_RESORT_S, os._exit, (HUNG_UP,))
        last_resort.daemon = True
        last_resort.start()
        self._finish(HUNG_UP)
