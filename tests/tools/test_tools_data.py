"""Data sets: every layout, every complaint, and splits that no part straddles."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.errors import ConfigError, EdgeInspectError, NotGood, UsageError
from edgeinspect_tools.data.build import Judged, build_dataset, k_folds
from edgeinspect_tools.data.data_page import attention, report_html
from edgeinspect_tools.data.dataset import GOOD, Dataset, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.duplicates import joined, near_duplicates
from edgeinspect_tools.data.manifest import load_manifest, save_manifest
from edgeinspect_tools.data.sheet import contact_sheet
from edgeinspect_tools.data.split import FRACTIONS, assign, checked_fractions
from tests.helpers.data_folders import make_folders, picture, write

SHARED = Path(os.environ.get("EDGEINSPECT_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def dimmed(pixels: NDArray[np.uint8], alpha: float, beta: float = 0.0) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=alpha, beta=beta), np.uint8)


def judge(path: Path | str, **options: object) -> Judged:
    good = options.pop("good", "")
    return build_dataset(read_source(path, good=str(good)), **options)  # type: ignore[arg-type]


def assert_sound(judged: Judged) -> None:
    splits: dict[str, set[Split]] = defaultdict(set)
    for item in judged.dataset.items:
        splits[item.group].add(item.split)
    assert all(len(found) == 1 for found in splits.values())
    paths = [item.path for item in judged.dataset.items]
    assert len(paths) == len(set(paths))
    assert not set(paths) & {entry.path for entry in judged.dataset.excluded}


# --- splitting ------------------------------------------------------------------------------

LABELS = st.sampled_from(["good", "scratch", "pit"])


@given(
    groups=st.lists(st.lists(LABELS, min_size=1, max_size=6), min_size=1, max_size=60),
    seed=st.integers(0, 1000),
)
def test_every_group_gets_one_part_and_the_same_one_again(
    groups: list[list[str]], seed: int
) -> None:
    shares = checked_fractions(FRACTIONS)
    parts = assign(groups, shares, seed=seed)
    assert len(parts) == len(groups)
    assert set(parts) <= set(shares)
    assert parts == assign(groups, shares, seed=seed)


@given(
    counts=st.fixed_dictionaries({label: st.integers(4, 80) for label in ("good", "a", "b")}),
    seed=st.integers(0, 100),
)
def test_single_pictures_are_shared_out_as_asked(counts: dict[str, int], seed: int) -> None:
    groups = [[label] for label, count in counts.items() for _ in range(count)]
    parts = assign(groups, checked_fractions(FRACTIONS), seed=seed)
    for label, count in counts.items():
        got = Counter(part for part, (own,) in zip(parts, groups, strict=True) if own == label)
        for split, share in FRACTIONS.items():
            assert got[split] >= 1
            assert abs(got[split] - share * count) <= 2


def test_another_seed_splits_otherwise() -> None:
    groups = [["good"]] * 50
    shares = checked_fractions(FRACTIONS)
    assert assign(groups, shares, seed=1) != assign(groups, shares, seed=2)


@pytest.mark.parametrize("shares", [{Split.TRAIN: -1.0}, {Split.TRAIN: 0.0}, {}])
def test_impossible_shares_are_refused(shares: dict[Split, float]) -> None:
    with pytest.raises(UsageError, match="shares"):
        checked_fractions(shares)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(parts=st.lists(st.tuples(LABELS, st.integers(1, 3)), min_size=20, max_size=30))
def test_no_part_straddles_whatever_the_folder_holds(
    parts: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("set")
    parts = [*parts, *[("good", 1)] * 6, *[("pit", 1)] * 6]
    for number, (label, shots) in enumerate(parts):
        pixels = picture(number)
        for shot in range(shots):
            write(root / label / f"{number}_{shot}.png", dimmed(pixels, 1 - 0.2 * shot))
    judged = judge(root)
    assert_sound(judged)
    assert len(judged.dataset.items) == sum(shots for _, shots in parts)
    groups = {item.path.stem: item.group for item in judged.dataset.items}
    for number, (_, shots) in enumerate(parts):
        assert len({groups[f"{number}_{shot}"] for shot in range(shots)}) == 1
    assert len(set(groups.values())) == len(parts)


def test_folds_test_every_picture_once(tmp_path: Path) -> None:
    make_folders(tmp_path, good=20, pit=12)
    dataset = judge(tmp_path).dataset
    folds = k_folds(dataset, 4, seed=3)
    tested = [item.path for fold in folds for item in fold.of(Split.TEST)]
    assert sorted(tested) == sorted(item.path for item in dataset.items)
    for fold in folds:
        splits: dict[str, set[Split]] = defaultdict(set)
        for item in fold.items:
            splits[item.group].add(item.split)
        assert all(len(found) == 1 for found in splits.values())
        assert {item.is_good for item in fold.of(Split.TEST)} == {True, False}
    assert folds == k_folds(dataset, 4, seed=3)
    with pytest.raises(UsageError, match="33 folds of 32 groups"):
        k_folds(dataset, 33)


# --- near-duplicates ------------------------------------------------------------------------


def fixture_pictures(count: int) -> list[NDArray[np.uint8]]:
    """Different parts in one fixture: the same outline, another texture, another light."""
    outline = np.zeros((64, 64), np.float32)
    outline[10:54, 10:54] = 120
    rng = np.random.default_rng(5)
    textures = [cv2.resize(rng.normal(0, 12, (24, 24)), (64, 64)) for _ in range(count)]
    gains = rng.uniform(0.8, 1.2, count)
    return [
        np.clip((outline + 40 + texture) * gain, 0, 255).astype(np.uint8)
        for texture, gain in zip(textures, gains, strict=True)
    ]


def test_parts_in_a_fixture_are_not_taken_for_one() -> None:
    pictures = fixture_pictures(60)
    pictures[7] = dimmed(pictures[3], 0.9, beta=6)
    assert near_duplicates(np.stack(pictures)).tolist() == [[3, 7]]


def test_few_pictures_are_compared_strictly() -> None:
    pictures = [picture(seed, size=64) for seed in range(5)]
    pictures.append(dimmed(pictures[2], 0.7))
    pictures.append(np.full((64, 64), 128, np.uint8))
    assert near_duplicates(np.stack(pictures)).tolist() == [[2, 5]]
    assert near_duplicates(np.stack(pictures[:1])).shape == (0, 2)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_groups_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    numbers = joined(20, pairs)
    reached = {at: {at} for at in range(20)}
    for _ in range(20):
        for a, b in pairs:
            union = reached[a] | reached[b]
            for at in union:
                reached[at] |= union
    for a in range(20):
        assert {b for b in range(20) if numbers[b] == numbers[a]} == reached[a]


# --- layouts --------------------------------------------------------------------------------


def test_folders_of_classes(tmp_path: Path) -> None:
    make_folders(tmp_path, OK=10, scratch=8)
    judged = judge(tmp_path)
    assert_sound(judged)
    assert judged.dataset.classes == (GOOD, "scratch")
    assert sum(sum(split.values()) for split in judged.findings.balance.values()) == 18
    assert judge(tmp_path).dataset == judged.dataset


def test_the_good_class_can_be_named(tmp_path: Path) -> None:
    make_folders(tmp_path, gut=8, kratzer=8)
    with pytest.raises(NotGood, match="no good pictures, only gut, kratzer"):
        judge(tmp_path)
    assert judge(tmp_path, good="Gut").dataset.classes == (GOOD, "kratzer")
    with pytest.raises(UsageError, match="no class is named prima; there are gut, kratzer"):
        judge(tmp_path, good="prima")


def test_a_csv_names_pictures_below_its_folder_only(tmp_path: Path) -> None:
    make_folders(tmp_path / "set" / "pictures", good=8, scratch=8)
    table = tmp_path / "set" / "labels.csv"
    pictures = sorted(tmp_path.rglob("*.png"))
    rows = [f"{path},{path.parent.name}" for path in pictures]
    table.write_text("\n".join(["path,label", *rows]))  # absolute, and below all the same
    judged = judge(table, group_pattern=r"\d+")
    assert_sound(judged)
    save_manifest(judged.dataset, tmp_path / "manifest.json")
    assert paths_of(load_manifest(tmp_path / "manifest.json")) == pictures

    outside = write(tmp_path / "elsewhere" / "secret.png", picture(1))
    (tmp_path / "set" / "link.png").symlink_to(outside)
    (tmp_path / "set" / "folder").symlink_to(outside.parent)
    (tmp_path / "set" / "circle").symlink_to(tmp_path / "set" / "circle")
    for name in (
        str(outside),
        "../elsewhere/secret.png",
        "pictures/../../elsewhere/secret.png",
        "link.png",
        "folder/secret.png",
        "circle/secret.png",
        "a" * 300,
    ):
        for row in (f"{name},good,", f"pictures/good/0.png,good,{name}"):
            table.write_text(f"path,label,reference\n{row}\n")
            with pytest.raises(ConfigError, match=r"labels\.csv:2: .*a file below"):
                read_source(table)


def test_a_list_of_boxes_names_pictures_below_its_folder_only(tmp_path: Path) -> None:
    outside = write(tmp_path / "secret.png", picture(1))
    folder = tmp_path / "a" / "set"
    folder.mkdir(parents=True)
    for name in (str(outside), "../../secret.png"):
        data = {
            "images": [{"id": 1, "file_name": name}],
            "annotations": [],
            "categories": [{"id": 1, "name": "pit"}],
        }
        (folder / "labels.json").write_text(json.dumps(data))
        with pytest.raises(ConfigError, match="a file below"):
            read_source(f"coco:{folder / 'labels.json'}")
        (folder / "trainval.txt").write_text(f"{name} {name}\n")
        (folder / "test.txt").write_text("")
        with pytest.raises(ConfigError, match=r"trainval\.txt:1: .*a file below"):
            read_source(f"deeppcb:{folder}")


def test_text_that_was_kept_from_being_a_formula_is_read_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "=a.png", picture(1))
    (tmp_path / "labels.csv").write_text("path,label\n'=a.png,'-dent\n")
    (found,) = read_source(tmp_path / "labels.csv").pictures
    assert (found.path.name, found.label) == ("=a.png", "-dent")


def paths_of(dataset: Dataset) -> list[Path]:
    return [item.path.resolve() for item in dataset.items]


def test_the_good_class_of_magnetic_tiles_can_be_named(tmp_path: Path) -> None:
    for name in ("MT_Free", "MT_Crack"):
        make_folders(tmp_path / name, Imgs=1)
    for good in ("", "free", "MT_Free"):
        found = read_source(f"magnetic-tile:{tmp_path}", good=good)
        assert {picture.label for picture in found.pictures} == {GOOD, "crack"}, good


@pytest.mark.parametrize("style", ["png", "suffix", "folder", "beside_images"])
def test_masks_are_found_beside_pictures(tmp_path: Path, style: str) -> None:
    mask = np.zeros((40, 40), np.uint8)
    for number in range(16):
        name = f"p{number}"
        folder = tmp_path / "images" if style == "beside_images" else tmp_path
        write(folder / f"{name}.jpg", picture(number))
        where = {
            "png": tmp_path / f"{name}.png",
            "suffix": tmp_path / f"{name}_mask.bmp",
            "folder": tmp_path / "masks" / f"{name}.png",
            "beside_images": tmp_path / "masks" / f"{name}.png",
        }[style]
        mask[5, 5] = 255 * (number % 2)
        write(where, mask)
    dataset = judge(tmp_path).dataset
    assert dataset.classes == (GOOD, "defect")
    assert dataset.has_masks
    assert {item.path.stem for item in dataset.items if not item.is_good} == {
        f"p{number}" for number in range(1, 16, 2)
    }
    assert all(item.mask is not None and item.mask_sha256 for item in dataset.items)


def test_mvtec(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", good=8)
    for number in range(8):
        write(tmp_path / "test" / "crack" / f"{number:03d}.png", picture(100 + number))
        write(tmp_path / "test" / "good" / f"{number:03d}.png", picture(200 + number))
        mask = np.full((40, 40), 255, np.uint8)
        write(tmp_path / "ground_truth" / "crack" / f"{number:03d}_mask.png", mask)
    judged = judge(tmp_path)
    assert judged.dataset.kind == "mvtec"
    masked = {item.label for item in judged.dataset.items if item.mask}
    assert (len(judged.dataset.items), masked) == (24, {"crack"})
    assert judged.findings.notes


def coco(root: Path) -> dict[str, list[dict[str, object]]]:
    images, annotations = [], []
    for number in range(16):
        write(root / "images" / f"{number}.png", picture(number))
        images.append({"id": number, "file_name": f"{number}.png"})
        if number % 2:
            box = [4, 5, 10, 12]
            annotations.append({"image_id": number, "category_id": 3, "bbox": box})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "pit"}],
    }


def test_coco(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(coco(tmp_path)))
    dataset = judge(tmp_path).dataset
    assert dataset == judge(tmp_path / "labels.json").dataset
    assert dataset.classes == (GOOD, "pit")
    (box,) = next(item.boxes for item in dataset.items if item.boxes)
    assert (box.left, box.top, box.right, box.bottom, box.label) == (4, 5, 14, 17, "pit")


Change = Callable[[dict[str, list[dict[str, object]]]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["annotations"][0].update(category_id=9), "category_id is 9"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 0, 4]), "bbox"),
        (lambda d: d["annotations"][0].update(bbox="x"), "COCO entry"),
        (lambda d: d["annotations"][0].update(image_id=99), "image_id is 99"),
        (lambda d: d["images"][0].update(file_name="gone.png"), "gone.png"),
        (lambda d: d["images"][0].pop("id"), "COCO entry"),
    ],
)
def test_bad_coco_is_named(tmp_path: Path, change: Change, said: str) -> None:
    data = coco(tmp_path)
    change(data)
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=said):
        judge(file)


VOC = """<annotation><object><name>pit</name><bndbox><xmin>{}</xmin><ymin>2</ymin>
<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"""


def test_voc(tmp_path: Path) -> None:
    for number in range(16):
        write(tmp_path / "JPEGImages" / f"{number}.jpg", picture(number))
    (tmp_path / "Annotations").mkdir()
    for number in range(8):
        (tmp_path / "Annotations" / f"{number}.xml").write_text(VOC.format(1))
    dataset = judge(tmp_path).dataset
    assert (dataset.kind, dataset.classes) == ("voc", (GOOD, "pit"))
    assert sum(bool(item.boxes) for item in dataset.items) == 8
    (tmp_path / "Annotations" / "3.xml").write_text(VOC.format("wide"))
    with pytest.raises(ConfigError, match=r"xmin is 'wide'"):
        judge(tmp_path)
    (tmp_path / "Annotations" / "3.xml").write_text("<!DOCTYPE x>" + VOC.format(1))
    with pytest.raises(ConfigError, match="document type"):
        judge(tmp_path)
    (tmp_path / "Annotations" / "3.xml").unlink()
    (tmp_path / "Annotations" / "99.xml").write_text(VOC.format(1))
    with pytest.raises(ConfigError, match=r"99\.xml"):
        judge(tmp_path)


def make_csv(root: Path) -> Path:
    lines = ["path,label,group,remark"]
    for number in range(24):
        write(root / "pics" / f"{number}.png", picture(number))
        label = "ok" if number % 2 else "pit"
        lines.append(f"pics/{number}.png,{label},part{number // 2},-")
    file = root / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_csv_with_groups(tmp_path: Path) -> None:
    judged = judge(make_csv(tmp_path))
    assert_sound(judged)
    assert judged.findings.groups == 12
    assert judged.dataset.classes == (GOOD, "pit")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pics/99.png,ok,,", r"labels\.csv:26: path is 'pics/99.png'"),
        ("pics/3.png,ok,,", "each picture once"),
        (",ok,,", "path is ''"),
    ],
)
def test_bad_csv_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = make_csv(tmp_path)
    with file.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ConfigError, match=said):
        judge(file)


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    file = make_csv(tmp_path)
    write(tmp_path / "new.png", picture(77))
    with file.open("a") as stream:
        stream.write("new.png,,,\n")
    judged = judge(file)
    assert len(judged.dataset.items) == 24
    assert "1 rows without a label" in judged.findings.notes[0]


def test_a_csv_without_its_columns_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("file,class\n")
    with pytest.raises(ConfigError, match="a column 'path'"):
        judge(file)


def make_pcb(root: Path) -> Path:
    lists: dict[str, list[str]] = {"trainval.txt": [], "test.txt": []}
    for number in range(20):
        stem = f"g/{number:03d}"
        write(root / f"{stem}_test.jpg", picture(number))
        write(root / f"{stem}_temp.jpg", picture(500 + number))
        label = root / "g_not" / f"{number:03d}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"3 4 20 25 {1 + number % 6}\n30 30 34 33 1\n")
        lists["test.txt" if number < 6 else "trainval.txt"].append(
            f"{stem}.jpg g_not/{number:03d}.txt"
        )
    for name, lines in lists.items():
        (root / name).write_text("\n".join(lines))
    return root


def test_deeppcb_keeps_its_official_split(tmp_path: Path) -> None:
    judged = judge(f"deeppcb:{make_pcb(tmp_path)}")
    assert judged.dataset == judge(tmp_path).dataset
    assert {item.path.name for item in judged.dataset.of(Split.TEST)} == {
        f"{number:03d}_test.jpg" for number in range(6)
    }
    first = judged.dataset.items[0]
    assert first.reference is not None
    assert first.reference.name == "000_temp.jpg"
    assert [box.label for box in first.boxes] == ["open", "open"]
    assert "pin-hole" in judged.dataset.defect_classes


def test_near_duplicates_across_an_official_split_are_counted(tmp_path: Path) -> None:
    make_pcb(tmp_path)
    shutil.copy(tmp_path / "g/000_test.jpg", tmp_path / "g/010_test.jpg")
    (tmp_path / "g_not/010.txt").write_text((tmp_path / "g_not/000.txt").read_text())
    judged = judge(tmp_path)
    assert_sound(judged)
    assert judged.findings.across_official_split == 1


def test_bad_deeppcb_is_named(tmp_path: Path) -> None:
    make_pcb(tmp_path)
    (tmp_path / "g_not/003.txt").write_text("3 4 20 25 7\n")
    with pytest.raises(ConfigError, match=r"003\.txt:1"):
        judge(tmp_path)
    (tmp_path / "g/003_temp.jpg").unlink()
    with pytest.raises(ConfigError, match="003_temp"):
        judge(tmp_path)


def test_one_tile_under_several_exposures_is_one_group(tmp_path: Path) -> None:
    def tile(label: str, exposure: int, number: int) -> None:
        path = tmp_path / f"MT_{label}" / "Imgs" / f"exp{exposure}_num_{number}.jpg"
        write(path, picture(number))
        write(path.with_suffix(".png"), np.zeros((40, 40), np.uint8))

    for part in range(14):
        start = 10_000 * part
        for exposure in range(1, 5):
            late = 150 * (exposure > 2)  # the series stopped for a while and went on
            tile("Crack" if part % 2 else "Free", exposure, start + 20 * exposure + late)
        tile("Free", 1, start + 5000)
    judged = judge(tmp_path)
    assert_sound(judged)
    assert judged.findings.groups == 28
    assert judged.dataset.classes == (GOOD, "crack")


def test_a_file_name_pattern_groups(tmp_path: Path) -> None:
    make_folders(tmp_path, good=24, pit=24)
    judged = judge(tmp_path, group_pattern=r"p\d\d(\d)")
    assert_sound(judged)
    assert judged.findings.groups == 10
    by_group = defaultdict(set)
    for item in judged.dataset.items:
        by_group[item.group].add(item.path.stem[3])
    assert all(len(stems) == 1 for stems in by_group.values())
    with pytest.raises(UsageError, match="not a valid regular expression"):
        judge(tmp_path, group_pattern="(")


# --- bad data -------------------------------------------------------------------------------


def test_broken_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    make_folders(tmp_path, good=10, pit=10)
    (tmp_path / "good" / "empty.png").write_bytes(b"")
    whole = (tmp_path / "good" / "p001.png").read_bytes()
    (tmp_path / "good" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pit" / "text.jpg").write_text("no picture")
    judged = judge(tmp_path)
    reasons = {entry.path.name: entry.reason for entry in judged.dataset.excluded}
    assert set(reasons) == {"empty.png", "cut.png", "text.jpg"}
    assert "empty" in reasons["empty.png"]
    assert len(judged.dataset.items) == 20
    assert attention(judged.dataset, judged.findings)[0].startswith("3 pictures are left out")


def test_only_broken_pictures(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.png").write_bytes(b"")
    with pytest.raises(NotGood, match=r"no usable picture among 1: a\.png"):
        judge(tmp_path)


def test_one_class_only(tmp_path: Path) -> None:
    with pytest.raises(NotGood, match="good pictures only"):
        judge(make_folders(tmp_path, good=9))


def test_two_pictures_only(tmp_path: Path) -> None:
    with pytest.raises(NotGood, match="2 usable pictures show 1 good and 1 defective"):
        judge(make_folders(tmp_path, good=1, pit=1))


def test_a_mask_of_the_wrong_size(tmp_path: Path) -> None:
    make_folders(tmp_path, good=8, pit=8)
    write(tmp_path / "pit" / "p003_mask.png", np.zeros((40, 41), np.uint8))
    with pytest.raises(ConfigError, match=r"p003_mask\.png.*41 x 40.*40 x 40 as its picture p003"):
        judge(tmp_path)
    (tmp_path / "pit" / "p003_mask.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="mask"):
        judge(tmp_path)


def test_every_picture_in_two_classes(tmp_path: Path) -> None:
    make_folders(tmp_path, good=9)
    shutil.copytree(tmp_path / "good", tmp_path / "pit")
    with pytest.raises(NotGood, match=r"no usable picture among 18.*labelled good and pit"):
        judge(tmp_path)


def test_some_pictures_in_two_classes_are_left_out(tmp_path: Path) -> None:
    make_folders(tmp_path, good=9, pit=9)
    shutil.copy(tmp_path / "good" / "p000.png", tmp_path / "pit" / "again.png")
    judged = judge(tmp_path)
    assert {entry.path.name for entry in judged.dataset.excluded} == {"p000.png", "again.png"}
    assert len(judged.dataset.items) == 17


@pytest.mark.parametrize("name", ["labels.txt", "labels.json", "nothing"])
def test_unknown_label_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "nothing":
        path.write_text("[1]")
    with pytest.raises(EdgeInspectError, match=r"known label format|COCO|does not exist"):
        read_source(path)


def test_pictures_without_any_label(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture(1))
    with pytest.raises(UsageError, match=r"a\.png has no label: it is not in a class folder"):
        read_source(tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with pytest.raises(UsageError, match="no picture"):
        read_source(tmp_path)


def test_conflicts_and_outliers_are_found(tmp_path: Path) -> None:
    make_folders(tmp_path, good=30, pit=30)
    relabelled = dimmed(picture(0), 0.8)
    write(tmp_path / "pit" / "same.png", relabelled)
    blurred = np.asarray(cv2.GaussianBlur(picture(900), (0, 0), 9), np.uint8)
    write(tmp_path / "good" / "blurred.png", blurred)
    write(tmp_path / "good" / "dark.png", picture(901) // 12)
    findings = judge(tmp_path).findings
    (conflict,) = findings.conflicts
    assert {conflict.first.name, conflict.second.name} == {"p000.png", "same.png"}
    assert "blurred.png" in {outlier.path.name for outlier in findings.blurred}
    assert "dark.png" in {outlier.path.name for outlier in findings.exposure}


# --- what is written ------------------------------------------------------------------------


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    dataset = judge(make_pcb(tmp_path / "set")).dataset
    save_manifest(dataset, tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == dataset
    moved = tmp_path / "elsewhere"
    (tmp_path / "set").rename(moved)
    with pytest.raises(NotGood, match="cannot be read"):
        load_manifest(tmp_path / "manifest.json")
    again = load_manifest(tmp_path / "manifest.json", root=moved)
    assert [item.sha256 for item in again.items] == [item.sha256 for item in dataset.items]


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    make_folders(tmp_path / "set", good=8, pit=8)
    mask = write(tmp_path / "set" / "pit" / "p001_mask.png", np.zeros((40, 40), np.uint8))
    save_manifest(judge(tmp_path / "set").dataset, tmp_path / "m.json")
    write(tmp_path / "set" / "good" / "p002.png", picture(999))
    write(mask, np.full((40, 40), 255, np.uint8))
    with pytest.raises(NotGood, match=r"p002\.png changed, p001_mask\.png changed"):
        load_manifest(tmp_path / "m.json")
    assert len(load_manifest(tmp_path / "m.json", verify=False).items) == 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.pop("items"), "items"),
        (lambda m: m.update(format=2), "format"),
        (lambda m: m["items"][0].update(sha256="x"), "sha256"),
        (lambda m: m["items"][0].update(surplus=1), "surplus"),
        (lambda m: m["items"][0].update(group=m["items"][-1]["group"], split="none"), "split"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, change: Change, said: str) -> None:
    make_folders(tmp_path / "set", good=8, pit=8)
    file = tmp_path / "m.json"
    save_manifest(judge(tmp_path / "set").dataset, file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=said):
        load_manifest(file)


def test_a_manifest_with_a_straddling_group(tmp_path: Path) -> None:
    make_folders(tmp_path / "set", good=8, pit=8)
    file = tmp_path / "m.json"
    save_manifest(judge(tmp_path / "set").dataset, file)
    content = json.loads(file.read_text())
    other = next(i for i in content["items"] if i["split"] != content["items"][0]["split"])
    other["group"] = content["items"][0]["group"]
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="where the rest of group"):
        load_manifest(file)


def test_the_report_escapes_what_files_are_called(tmp_path: Path) -> None:
    make_folders(tmp_path, good=8, **{"<b>&pit": 8})
    (tmp_path / "good" / "<script>.png").write_bytes(b"")
    judged = judge(tmp_path)
    report = report_html(judged.dataset, judged.findings, contact_sheet(judged.dataset)).decode()
    assert "<script>" not in report
    assert "&lt;script&gt;.png" in report
    assert "&lt;b&gt;&amp;pit" in report
    assert "http://" not in report
    assert "https://" not in report


def test_the_contact_sheet_shows_every_class(tmp_path: Path) -> None:
    make_folders(tmp_path, good=20, pit=8)
    sheet = contact_sheet(judge(tmp_path).dataset, columns=4, rows_per_class=2)
    pixels = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (26 + 2 * (26 + 2 * 132), 4 * 132, 3)
    assert sheet == contact_sheet(judge(tmp_path).dataset, columns=4, rows_per_class=2)


# --- real pictures --------------------------------------------------------------------------


@pytest.mark.slow
def test_magnetic_tiles_do_not_leak() -> None:
    root = SHARED / "data" / "magnetic_tile"
    if not root.is_dir():
        pytest.skip(f"{root} is not there: set EDGEINSPECT_SHARED")
    judged = judge(root)
    assert_sound(judged)
    assert len(judged.dataset.items) == 1344
    # 1,344 pictures of six exposures each cannot show many more than 224 tiles.
    assert 150 < judged.findings.groups < 260
    assert not judged.findings.missing
