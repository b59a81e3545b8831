"""Labelled parts of a station as a data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.errors import ConfigError, EdgeInspectError, UsageError
from edgeinspect.labels.label_store import LabelKind, LabelStore
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import Source
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.manifest import load_manifest, save_manifest


def write(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40)).astype(np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def labels_of(source: Source) -> dict[str, tuple[str | None, str]]:
    return {picture.path.name: (picture.label, picture.group) for picture in source.pictures}


def test_a_data_directory_with_its_labels(tmp_path: Path) -> None:
    with LabelStore(tmp_path) as store:
        for part_id in range(1, 6):
            picture = write(tmp_path / "images" / f"{part_id}.png", part_id)
            store.add(part_id, LabelKind.GOOD, author="operator", picture=picture)
        store.add(2, LabelKind.DEFECTIVE, author="lee", defect_class="pit")
        store.add(3, LabelKind.DEFECTIVE, author="lee")
        store.add(4, LabelKind.UNSURE, author="lee")
        store.add(9, LabelKind.GOOD, author="operator")
    source = read_source(tmp_path)
    assert source.kind == "station-export"
    assert labels_of(source) == {
        "1.png": ("good", "part 1"),
        "2.png": ("pit", "part 2"),
        "3.png": ("defective", "part 3"),
        "5.png": ("good", "part 5"),
    }
    assert source.notes == (
        "1 parts that people were unsure of were left out.",
        "1 labelled parts have no picture any more.",
    )
    assert read_source(f"station-export:{tmp_path}") == source


def make_export(folder: Path, *, column: str = "path") -> Path:
    """Eight good and eight defective parts, two pictures of each, one name absolute."""
    lines = [f"part_id,{column},label,defect_class"]
    for part_id in range(16):
        for view in range(2):
            picture = write(folder / "pictures" / f"{part_id}-{view}.png", 100 * part_id + view)
            name = str(picture) if part_id == 0 else f"pictures/{picture.name}"
            said = "good," if part_id % 2 else "defective,dent"
            lines.append(f"{part_id},{name},{said}")
    lines += ["40,,good,", "41,pictures/0-0.png,,", "42,pictures/0-0.png,unsure,"]
    file = folder / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("column", ["path", "image"])
def test_the_pictures_of_one_part_never_part(tmp_path: Path, column: str) -> None:
    make_export(tmp_path, column=column)
    source = read_source(f"station-export:{tmp_path}")
    assert labels_of(source)["0-1.png"] == ("dent", "part 0")
    assert labels_of(source)["1-0.png"] == ("good", "part 1")
    assert len(source.notes) == 3
    dataset = build_dataset(source, seed=3).dataset
    assert len(dataset.items) == 32
    splits = {
        number: {item.split for item in dataset.items if item.path.name.startswith(f"{number}-")}
        for number in range(16)
    }
    assert {len(found) for found in splits.values()} == {1}
    assert len({next(iter(found)) for found in splits.values()}) > 1
    manifest = tmp_path / "elsewhere" / "manifest.json"
    manifest.parent.mkdir()
    save_manifest(dataset, manifest)
    assert load_manifest(manifest) == dataset


def test_an_export_without_parts_groups_as_it_says(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    (tmp_path / "parts.csv").write_text("path,label,group\na.png,Ok,lot 7\n")
    source = read_source(f"station-export:{tmp_path / 'parts.csv'}")
    assert labels_of(source) == {"a.png": ("good", "lot 7")}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("part_id,label\n1,good\n", "column 'path' or 'image'"),
        ("part_id,path\n1,a.png\n", "column 'label'"),
        ("part_id,path,label\n1,none.png,good\n", "csv:2: path is .none.png"),
        ("part_id,path,label\n1,a.png,good\n1,a.png,good\n", "csv:3: .*each picture once"),
    ],
)
def test_a_bad_export_is_named(tmp_path: Path, rows: str, said: str) -> None:
    write(tmp_path / "a.png", 1)
    (tmp_path / "labels.csv").write_text(rows)
    with pytest.raises(ConfigError, match=said):
        read_source(f"station-export:{tmp_path}")


def test_a_folder_without_labels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither labels\.csv nor"):
        read_source(f"station-export:{tmp_path}")
    (tmp_path / "labels.csv").write_text("part_id,path,label\n1,a.png,\n")
    with pytest.raises(EdgeInspectError, match="holds no picture"):
        read_source(f"station-export:{tmp_path}")
