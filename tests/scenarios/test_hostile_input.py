"""What somebody else wrote is refused with an error of our tree, whatever it holds."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgeinspect.bundle.card import load_card
from edgeinspect.bundle.certificate import parse_certificate
from edgeinspect.bundle.directory import Bundle, load_bundle
from edgeinspect.bundle.golden import golden_tiles, parse_golden
from edgeinspect.bundle.reference import bundle_reference
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.control.protocol import ProtocolError, decode_request
from edgeinspect.errors import (
    CameraFault,
    ConfigError,
    EdgeInspectError,
    InferenceFailed,
    ModelRefused,
    UsageError,
)
from edgeinspect.files.json_text import parse_json
from edgeinspect.files.picture_bytes import UnreadablePicture, decode_picture
from edgeinspect.files.yaml_file import parse_yaml
from edgeinspect.hw.picture_file import decode_jpeg, read_picture
from edgeinspect.line.tiles import MAX_TILES, lay_tiles
from edgeinspect.records.images import decode_png, encode_png
from edgeinspect.settings.audit import AuditTrail
from edgeinspect.settings.recipe import load_recipe
from edgeinspect.settings.recipe_store import RecipeStore
from edgeinspect.settings.station_file import load_station
from tests.helpers.bundle_samples import spot_bundle

LONG_NUMBER = b"9" * 5000
DEEP = b"[" * 100_000
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cut_and_changed(whole: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with an end cut off, or with some of them replaced."""

    def changed(places: list[tuple[int, bytes]]) -> bytes:
        made = bytearray(whole)
        for at, new in places:
            made[at : at + len(new)] = new
        return bytes(made)

    place = st.tuples(st.integers(0, len(whole)), st.binary(min_size=1, max_size=6))
    cut = st.integers(0, len(whole)).map(lambda length: whole[:length])
    return cut | st.lists(place, min_size=1, max_size=4).map(changed)


def some_of(characters: str) -> st.SearchStrategy[bytes]:
    return st.text(alphabet=characters).map(str.encode)


# --- golden.npz ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return spot_bundle(tmp_path_factory.mktemp("hostile"))


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def npz(*arrays: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    names = ("picture_00", "output_00", "scores_00")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for number, content in enumerate(arrays):
            archive.writestr(f"{names[number % 3]}.npy", content)
    return buffer.getvalue()


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }\n"
HOSTILE_ARRAYS = {
    "a header that no tokenizer takes": npy(b"{'descr': '|u1', 'shape': (2L, '\x00\xff\n"),
    "a header without an end": npy(b"{'descr': ('" + b"(" * 5000),
    "a header of objects": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"),
    "a pickle": saved(np.zeros(1)) + pickle.dumps([1]),
    "an object array": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n", b"\x80"),
    "a record type": npy(
        b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }\n", bytes(8)
    ),
    "Fortran's order": saved(np.asfortranarray(np.zeros((4, 3), np.uint8))),
    "another type": saved(np.zeros((4, 3), np.complex64)),
    "the other byte order": saved(np.zeros((4, 3), ">f8")),
    "a huge shape": npy(HEADER % b"9999999999, 9999999999"),
    "a shape of 5,000 digits": npy(HEADER % LONG_NUMBER),
    "a negative shape": npy(HEADER % b"-1, 4", bytes(4)),
    "a shape of names": npy(HEADER % b"True, x"),
    "a shape that wraps to nothing": npy(HEADER % b"4294967296, 4294967296, 0"),
    "too many axes": npy(HEADER % b", ".join([b"1"] * 40), b"\0"),
    "data that are missing": npy(HEADER % b"4, 4", bytes(3)),
    "data too many": npy(HEADER % b"4, 4", bytes(99)),
    "a length beyond the file": b"\x93NUMPY\x01\x00\xff\xff{}",
    "another version": b"\x93NUMPY\x02\x00" + bytes(20),
    "nothing": b"",
}


@pytest.mark.parametrize("what", HOSTILE_ARRAYS)
def test_golden_data_of_a_hostile_array_are_refused(bundle: Bundle, what: str) -> None:
    content = HOSTILE_ARRAYS[what]
    with pytest.raises(
        ModelRefused, match=r"g\.npz.*(golden data|do not match|does not hold)"
    ) as e:
        parse_golden(npz(content, content, content), bundle.card, "g.npz")
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


def test_archives_packed_in_another_way_are_refused(bundle: Bundle) -> None:
    """Their decompressors know no bound: a few KiB become a hundred MiB."""
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = npz(saved(np.zeros(4, np.uint8)), compression=compression)
        with pytest.raises(ModelRefused, match="in an unexpected format"):
            parse_golden(packed, bundle.card, "g.npz")
    encrypted = bytearray(npz(saved(np.zeros(4, np.uint8))))
    directory = encrypted.rindex(b"PK\x01\x02")
    encrypted[directory + 8] |= 1
    with pytest.raises(ModelRefused, match="in an unexpected format"):
        parse_golden(bytes(encrypted), bundle.card, "g.npz")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(bundle: Bundle) -> None:
    bomb = npz(bytes(300 << 20), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelRefused, match="more than 256 MiB unpacked"):
        parse_golden(bomb, bundle.card, "g.npz")


@quick
@given(st.data())
def test_golden_data_that_were_changed_are_refused_or_read(
    bundle: Bundle, data: st.DataObject
) -> None:
    try:
        parse_golden(data.draw(cut_and_changed(bundle.golden)), bundle.card, "g.npz")
    except ModelRefused as error:
        assert "\n" not in str(error)


@quick
@given(
    st.binary(max_size=60) | st.text(alphabet="{}()[]'\",:0123456789LeE|u1fi8\n# ").map(str.encode)
)
def test_any_header_is_refused_or_read(bundle: Bundle, header: bytes) -> None:
    with pytest.raises(ModelRefused):
        parse_golden(npz(*[npy(header)] * 3), bundle.card, "g.npz")


def test_a_golden_picture_that_makes_too_many_tiles_is_refused(bundle: Bundle) -> None:
    long = np.zeros((1, 16 * MAX_TILES + 1), np.uint8)
    shape = (1, *bundle.card.output.shape[1:])
    content = npz(saved(long), saved(np.zeros(shape, np.int8)), saved(np.zeros(1)))
    hostile = Bundle(
        bundle.directory, bundle.card, bundle.certificate, bundle.digest, bundle.model, content
    )
    with pytest.raises(ModelRefused, match=r"the golden check failed: .* the limit is 16384"):
        list(golden_tiles(hostile))


def test_tiles_that_step_by_one_pixel_are_refused_before_they_are_counted_out() -> None:
    size = {"roi_width_px": 10**9, "roi_height_px": 10**9}
    with pytest.raises(ValueError, match="the limit is 16384"):
        lay_tiles(**size, tile_width_px=64, tile_height_px=64, overlap_px=63)


# --- pictures -----------------------------------------------------------------------------------

PIXELS = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10)
PNG = encode_png(PIXELS)
JPEG = cv2.imencode(".jpg", PIXELS)[1].tobytes()
PGM = b"P5 10 12 255\n" + PIXELS.tobytes()
BMP = cv2.imencode(".bmp", PIXELS)[1].tobytes()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header states another size; its checksum is of no interest here."""
    made = bytearray(PNG)
    made[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(made)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        PNG[:40],
        png_of(2**31 - 1, 2**31 - 1),
        png_of(0, 5),
        cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes(),
        cv2.imencode(".png", np.zeros((4, 4, 4), np.uint8))[1].tobytes(),
    ],
)
def test_a_kept_picture_that_is_damaged_is_none(data: bytes) -> None:
    assert decode_png(data) is None


@quick
@given(
    st.sampled_from([PNG, JPEG, BMP, b"P5 10 12 255\n" + PIXELS.tobytes()]).flatmap(cut_and_changed)
)
@example(b"P5 " + LONG_NUMBER + b" 1 255\n")
@example(b"\xff\xd8\xff\xc0\xff\xd9")
@example(b"BM" + b"\xff" * 24)
def test_any_picture_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "picture"
    file.write_bytes(data)
    with_words: list[str] = []
    for read in (
        lambda: read_picture(file),
        lambda: decode_jpeg(np.frombuffer(data, np.uint8), color=True),
        lambda: decode_picture(data, cv2.IMREAD_GRAYSCALE),
    ):
        try:
            read()
        except (CameraFault, UnreadablePicture) as error:
            with_words.append(str(error))
    decode_png(data)
    assert all(words and "\n" not in words for words in with_words)


def test_a_reference_picture_that_cannot_be_decoded_is_refused(bundle: Bundle) -> None:
    from edgeinspect.bundle.directory import sha256_of

    bomb = png_of(60_000, 60_000)
    card = bundle.card.model_copy(
        update={
            "input": bundle.card.input.model_copy(update={"reference": True}),
            "digests": {**bundle.card.digests, "reference.png": sha256_of(bomb)},
        }
    )
    (bundle.directory / "reference.png").write_bytes(bomb)
    hostile = Bundle(
        bundle.directory, card, bundle.certificate, bundle.digest, bundle.model, bundle.golden
    )
    with pytest.raises(ModelRefused, match=r"reference\.png is 60000 x 60000, more than"):
        bundle_reference(hostile)


# --- JSON ---------------------------------------------------------------------------------------

HOSTILE_JSON = (
    b"",
    b"\xff\xfe\xfd",
    LONG_NUMBER,
    b'{"v": %s}' % LONG_NUMBER,
    b"-" + LONG_NUMBER,
    DEEP,
    b'{"a":' * 100_000,
    b"NaN",
    b"[1e999]",
    b"-Infinity",
)


@pytest.mark.parametrize("text", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_is_one_kind_of_error(bundle: Bundle, tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    with pytest.raises(ProtocolError):
        decode_request(text)
    with pytest.raises(ModelRefused):
        parse_certificate(text, Path("certificate.json"))
    trail = AuditTrail(tmp_path / "audit.jsonl")
    trail.append("recipe.stored", author="a", reason="b", details={})
    for file in tmp_path.iterdir():
        file.write_bytes(text.replace(b"\n", b" ") + b"\n")
    assert not trail.verify().is_good


@quick
@given(
    st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789eE+-.NaInfity \\u').map(str.encode)
)
def test_any_line_is_a_request_or_a_protocol_error(line: bytes) -> None:
    try:
        decode_request(line)
    except ProtocolError as error:
        assert str(error)


# --- YAML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_station, load_recipe, load_card])
@pytest.mark.parametrize(
    "text",
    [
        b"a: " + LONG_NUMBER,
        b"a: 0x" + b"f" * 5000,
        b"a: 1e99999",
        b"a: -.inf",
        b"? [a]\n: 1",
        DEEP,
        b"{" * 5000,
        b"a: &b [*b]",
        b'data_dir: "a\\0b"',
        b"data_dir: " + b"n" * 5000,
        b"id: " + b"n" * 300,
        b"product: " + b"n" * 300,
        b"classes: " + b"n" * 300,
    ],
)
def test_hostile_yaml_is_a_configuration_error(
    tmp_path: Path, load: Callable[[Path], object], text: bytes
) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert len(str(caught.value)) < 2000


@quick
@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda t: t.encode("utf-8", "ignore")))
def test_any_yaml_is_read_or_a_configuration_error(content: bytes) -> None:
    try:
        parse_yaml(content, path="file.yaml")
    except ConfigError as error:
        assert "\n" not in error.message


# --- names and numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, 10**6, 10**30, -(10**400)])
def test_a_number_that_no_revision_has_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to 999999"):
        RecipeStore(tmp_path).load("bracket", number)


NAMES = ("n" * 300, "n/" * 3000, "\udc80\udcff", LONG_NUMBER.decode())


@pytest.mark.parametrize("name", NAMES, ids=["long", "deep", "not UTF-8", "digits"])
@pytest.mark.parametrize(
    "command",
    [
        ["check", "{}"],
        ["model", "install", "{}", "--config", "station.yaml"],
        ["recipe", "new", "bracket", "--bundle", "{}", "--config", "station.yaml", "--reason", "r"],
        ["recipe", "new", "{}", "--bundle", "x", "--config", "station.yaml", "--reason", "r"],
        ["recipe", "apply", "{}", "--config", "station.yaml", "--reason", "r"],
        ["parts", "list", "--data-dir", "{}"],
        ["parts", "show", "{}", "--data-dir", "data"],
        ["label", "list", "--data-dir", "{}"],
        ["status", "--config", "{}"],
        ["status", "--socket", "{}"],
        ["replay", "{}", "--bundle", "sim-surface"],
        ["replay", ".", "--bundle", "{}"],
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_no_name_or_number_is_unexpected(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    name: str,
) -> None:
    import importlib.resources

    example = importlib.resources.files("edgeinspect.settings") / "examples"
    text = (example / "normally-rejecting.yaml").read_text()
    (tmp_path / "station.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    arguments = [word.format(name) for word in command]
    code = run_command_line(application, program="edgeinspect", arguments=arguments)
    printed = capsys.readouterr().err
    assert code in range(7) and "unexpected" not in printed
    assert printed.count("\n") <= 4 and len(printed) < 7000


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_of_the_command_line_is_finite(
    capsys: pytest.CaptureFixture[str], value: str
) -> None:
    arguments = ["status", f"--timeout={value}"]
    assert run_command_line(application, program="edgeinspect", arguments=arguments) == 2
    assert "unexpected" not in capsys.readouterr().err


def test_a_bundle_in_a_place_with_a_long_name_is_one_error() -> None:
    for name in NAMES:
        try:
            load_bundle(Path(name))
        except (EdgeInspectError, InferenceFailed) as error:
            assert error.exit_code == 5
        else:
            pytest.fail("it was loaded")


def test_deep_values_survive_the_protocol() -> None:
    request = json.dumps({"v": 1, "cmd": "status", "id": "9" * 4000}).encode()
    assert decode_request(request)[0] == "9" * 4000
