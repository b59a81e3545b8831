"""The manifest: a data set as JSON, with the digest of every file it names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from edgeinspect.errors import ConfigError, NotGood
from edgeinspect.files.atomic_file import replace_file
from edgeinspect_tools.data.dataset import Box, Dataset, Excluded, Item, Split
from edgeinspect_tools.data.scan import sha256_of_file

MAX_BYTES = 256 * 1024 * 1024

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1, max_length=4096)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Item(_Part):
    path: _Text
    sha256: _Sha256
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    label: _Text
    group: _Text
    split: Split
    mask: _Text | None = None
    mask_sha256: _Sha256 | None = None
    boxes: tuple[tuple[str, float, float, float, float], ...] = ()
    reference: _Text | None = None
    drawn: bool = False


class _Excluded(_Part):
    path: _Text
    reason: str


class _Manifest(_Part):
    format: Literal[1] = 1
    kind: _Text
    root: _Text
    seed: int
    items: tuple[_Item, ...] = Field(min_length=1)
    excluded: tuple[_Excluded, ...] = ()


def save_manifest(dataset: Dataset, path: Path) -> None:
    """Write the manifest atomically; paths are relative to its own folder's view of the root.

    Raises:
        StorageFault: it could not be written.
    """

    def relative(file: Path) -> str:
        return Path(os.path.relpath(file, dataset.root)).as_posix()

    manifest = _Manifest(
        kind=dataset.kind,
        root=Path(os.path.relpath(dataset.root, path.parent)).as_posix(),
        seed=dataset.seed,
        items=tuple(
            _Item(
                path=relative(item.path),
                sha256=item.sha256,
                width=item.width,
                height=item.height,
                label=item.label,
                group=item.group,
                split=item.split,
                mask=relative(item.mask) if item.mask else None,
                mask_sha256=item.mask_sha256 or None,
                boxes=tuple((b.label, b.left, b.top, b.right, b.bottom) for b in item.boxes),
                reference=relative(item.reference) if item.reference else None,
                drawn=item.drawn,
            )
            for item in dataset.items
        ),
        excluded=tuple(
            _Excluded(path=relative(entry.path), reason=entry.reason) for entry in dataset.excluded
        ),
    )
    content = manifest.model_dump(mode="json", exclude_none=True)
    replace_file(path, json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")


def load_manifest(path: Path, *, root: Path | None = None, verify: bool = True) -> Dataset:
    """Read a manifest and, by default, check that its files are unchanged.

    Args:
        root: where the pictures are now; None takes the manifest's word.

    Raises:
        ConfigError: unreadable, or not a manifest; names the key.
        NotGood: files are missing or have changed; names them.
    """
    manifest = _parsed(path)
    base = root if root is not None else Path(os.path.normpath(path.parent / manifest.root))
    dataset = Dataset(
        kind=manifest.kind,
        root=base,
        seed=manifest.seed,
        items=tuple(_loaded(item, base) for item in manifest.items),
        excluded=tuple(Excluded(base / e.path, e.reason) for e in manifest.excluded),
    )
    _check_groups(path, dataset)
    if verify:
        _verify(dataset)
    return dataset


def _parsed(path: Path) -> _Manifest:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                file=path, key="the file", value="too large", expected=f"at most {MAX_BYTES} bytes"
            )
        return _Manifest.model_validate_json(path.read_bytes(), strict=False)
    except OSError as error:
        raise ConfigError(
            file=path, key="the file", value=error.strerror, expected="a readable manifest"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            file=path, key=key, value=first.get("input"), expected=f"a manifest ({first['msg']})"
        ) from error


def _loaded(item: _Item, base: Path) -> Item:
    def where(name: str | None) -> Path | None:
        return Path(os.path.normpath(base / name)) if name else None

    return Item(
        path=Path(os.path.normpath(base / item.path)),
        label=item.label,
        width=item.width,
        height=item.height,
        sha256=item.sha256,
        group=item.group,
        split=item.split,
        mask=where(item.mask),
        mask_sha256=item.mask_sha256 or "",
        boxes=tuple(Box(*box) for box in item.boxes),
        reference=where(item.reference),
        drawn=item.drawn,
    )


def _check_groups(path: Path, dataset: Dataset) -> None:
    seen: dict[str, Split] = {}
    for item in dataset.items:
        if seen.setdefault(item.group, item.split) is not item.split:
            raise ConfigError(
                file=path,
                key=f"the split of {item.path.name}",
                value=item.split.value,
                expected=f"{seen[item.group].value}, where the rest of group {item.group} is",
            )


def _verify(dataset: Dataset) -> None:
    wrong = [name for item in dataset.items for name in _changed(item)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise NotGood(
            f"Since the manifest was written: {', '.join(wrong[:5])}{more}.",
            next_action="Restore the files, or read the data set again.",
        )


def _changed(item: Item) -> Iterator[str]:
    for file, digest in ((item.path, item.sha256), (item.mask, item.mask_sha256)):
        if file is None:
            continue
        try:
            if sha256_of_file(file) != digest:
                yield f"{file.name} changed"
        except OSError:
            yield f"{file.name} cannot be read"
