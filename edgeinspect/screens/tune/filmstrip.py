"""The row of part pictures on the tuning screen: loaded in threads, the last ones kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from textual.screen import Screen

from edgeinspect.screens.tune.background_tasks import BackgroundTasks
from edgeinspect.screens.tune.part_picture import (
    FIRST_IMAGE_ID,
    THUMBNAIL_MAX_BYTES,
    THUMBNAIL_MAX_PX,
    Picture,
    Shown,
)
from edgeinspect.screens.tune.source import TuneSource
from edgeinspect.screens.tune.tune_drawing import (
    THUMBNAIL_COLUMNS,
    thumbnail_rows,
    thumbnail_top,
)
from edgeinspect.screens.tune.tune_view import FilmstripPart
from edgeinspect.terminal.graphics import Graphics

_KEPT_PICTURES = 64


class Filmstrip:
    """Shows the pictures of some parts beside each other.

    Args:
        on_loaded: Called on the screen's thread when another picture can be shown.
    """

    def __init__(
        self,
        source: TuneSource,
        graphics: Graphics,
        tasks: BackgroundTasks,
        *,
        on_loaded: Callable[[], object],
    ) -> None:
        self._source = source
        self._graphics = graphics
        self._tasks = tasks
        self._on_loaded = on_loaded
        self._places: list[Picture] = []
        self._loaded: OrderedDict[tuple[int, int], Shown] = OrderedDict()
        self._loading: set[tuple[int, int]] = set()

    @property
    def image_ids(self) -> list[int]:
        """The ids under which kitty may hold these pictures."""
        return [FIRST_IMAGE_ID + place for place in range(len(self._places))]

    async def arrange(self, screen: Screen[object], *, places: int, height: int) -> list[int]:
        """Make room for as many pictures; returns the image ids of those that are hidden now."""
        while len(self._places) < places:
            picture = Picture(
                self._graphics, FIRST_IMAGE_ID + len(self._places), classes="filmstrip"
            )
            self._places.append(picture)
            await screen.mount(picture)
        for place, picture in enumerate(self._places):
            picture.display = place < places
            if place < places:
                left = place * (THUMBNAIL_COLUMNS + 1)
                picture.styles.offset = (left, thumbnail_top(height))
                picture.styles.width = THUMBNAIL_COLUMNS
                picture.styles.height = thumbnail_rows(height)
        return self.image_ids[places:]

    def show(self, parts: Sequence[FilmstripPart], *, height: int) -> None:
        """Show the pictures of these parts, or that they are being loaded."""
        rows = thumbnail_rows(height)
        for place, picture in enumerate(self._places):
            if place < len(parts):
                picture.show(self._picture(parts[place].part_id, rows))
            else:
                picture.show(None, is_used=False)

    def load(self, part_id: int, *, columns: int, rows: int, max_px: int, max_bytes: int) -> Shown:
        """Render a part's picture and encode it for the terminal; takes a while."""
        width, height = self._graphics.size_px(columns=columns, rows=rows, max_px=max_px)
        drawn = self._source.draw(part_id, width=width, height=height)
        if drawn.picture is None:
            return Shown(drawn)
        encoded = self._graphics.encode(
            drawn.picture, columns=columns, rows=rows, max_px=max_px, max_bytes=max_bytes
        )
        return Shown(drawn, encoded)

    def _picture(self, part_id: int, rows: int) -> Shown | None:
        key = (part_id, rows)
        shown = self._loaded.get(key)
        if shown is None and key not in self._loading:
            self._loading.add(key)
            load = partial(
                self.load,
                part_id,
                columns=THUMBNAIL_COLUMNS,
                rows=rows,
                max_px=THUMBNAIL_MAX_PX,
                max_bytes=THUMBNAIL_MAX_BYTES,
            )
            self._tasks.start("picture", load, partial(self._keep, key))
        return shown

    def _keep(self, key: tuple[int, int], shown: Shown) -> None:
        self._loading.discard(key)
        self._loaded[key] = shown
        while len(self._loaded) > _KEPT_PICTURES:
            self._loaded.popitem(last=False)
        self._on_loaded()
