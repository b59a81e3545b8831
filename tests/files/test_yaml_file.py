from __future__ import annotations

import enum
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.files.yaml_file import MAX_BYTES, dump_yaml, load_model, parse_yaml, read_yaml


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    width_px: int = Field(ge=1, le=100)
    gain: float | None = Field(default=None, gt=0)
    colours: tuple[Colour, ...] = ()
    line: str | int = "x"


class Outer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str = Field(min_length=1)
    inner: Inner
    flag: bool = False
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Outer:
        if self.low > self.high:
            raise Rule("low", value=self.low, expected=f"at most high ({self.high})")
        return self


GOOD = """\
name: a
inner:
  width_px: 5
  colours: [red, blue]
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def fails(tmp_path: Path, text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_model(write(tmp_path, text), Outer)
    assert caught.value.file == tmp_path / "file.yaml"
    return caught.value


def test_good_file(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, GOOD), Outer)
    assert model.inner.colours == (Colour.RED, Colour.BLUE)
    assert load_model(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()), Outer) == model


def test_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    error = fails(tmp_path, "name: a\ninner:\n  # comment\n  widht_px: 5\n")
    assert (error.line, error.key, error.value) == (4, "inner.widht_px", 5)
    assert "did you mean width_px?" in error.expected
    assert "inner.width_px" in error.next_action  # which is therefore missing


@pytest.mark.parametrize(
    ("line", "key", "value", "expected"),
    [
        ("  width_px: 0", "inner.width_px", 0, "a whole number from 1 to 100"),
        ("  width_px: true", "inner.width_px", True, "a whole number from 1 to 100"),
        ("  width_px: '5'", "inner.width_px", "5", "a whole number from 1 to 100"),
        ("  width_px: 5.0", "inner.width_px", 5.0, "a whole number from 1 to 100"),
        ("  width_px:", "inner.width_px", None, "a whole number from 1 to 100"),
        ("  gain: -1\n  width_px: 5", "inner.gain", -1, "a number above 0, or null"),
        ("  gain: .inf\n  width_px: 5", "inner.gain", float("inf"), "a number above 0, or null"),
        ("  line: [1]\n  width_px: 5", "inner.line", [1], "text, or a whole number"),
        ("  colours: [grey]\n  width_px: 5", "inner.colours[0]", "grey", "one of red, blue"),
        ("  colours: red\n  width_px: 5", "inner.colours", "red", "a list"),
    ],
)
def test_wrong_value(tmp_path: Path, line: str, key: str, value: object, expected: str) -> None:
    error = fails(tmp_path, f"name: a\ninner:\n{line}\n")
    assert (error.line, error.key, error.value, error.expected) == (3, key, value, expected)


def test_yaml_1_1_words_stay_text(tmp_path: Path) -> None:
    error = fails(tmp_path, GOOD + "flag: yes\n")
    assert (error.line, error.key, error.value) == (5, "flag", "yes")
    assert error.expected == "true or false"
    assert load_model(write(tmp_path, GOOD.replace("name: a", "name: no")), Outer).name == "no"


def test_missing_key_points_at_its_parent(tmp_path: Path) -> None:
    error = fails(tmp_path, "name: a\ninner:\n  gain: 2\n")
    assert (error.line, error.key) == (2, "inner.width_px")
    assert "inner.width_px is missing; expected a whole number from 1 to 100" in str(error)


def test_rule_between_keys(tmp_path: Path) -> None:
    error = fails(tmp_path, GOOD + "low: 3\n")
    assert (error.line, error.key, error.value) == (5, "low", 3.0)
    assert error.expected == "at most high (1.0)"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "the file is empty"),
        ("# only a comment\n", None, "the file is empty"),
        ("- a\n", None, "the file is ['a']"),
        ("name: a\nname: b\n", 2, "name is given twice, first in line 1"),
        ("name: a\n\tinner: 3\n", 2, "the YAML syntax is broken"),
        ("name: [a\n", 2, "the YAML syntax is broken"),
        ("name: &x a\nflag: *x\n", 1, "name is an anchor or alias"),
        ("name: a\nflag: *x\n", 2, "flag is an anchor or alias"),
        ("name: !!python/object:os.system a\n", 1, "name is a YAML tag"),
        ("name: a\n---\nname: b\n", 2, "the file is a second document"),
        ("? [1, 2]\n: 3\n", 1, "a key that is not text"),
        ("name: \x07\n", None, "the YAML syntax is broken"),
        ('name: "\\ud800"\n', None, ""),
        ("name: " + "[" * 5000, 1, "nested too deep"),
        ("name: a\nx: " + "{a: " * 5000, 2, "nested too deep"),
        (b"name: a\nx: \xff\n", 2, "not UTF-8 at byte 11"),
        (GOOD.encode("utf-16"), 1, "not UTF-8"),
        (b"\x00" * 100, None, "the YAML syntax is broken"),
        (b"TFL3" + bytes(range(256)), 2, "not UTF-8"),
    ],
)
def test_what_is_not_our_yaml(
    tmp_path: Path, text: str | bytes, line: int | None, words: str
) -> None:
    error = fails(tmp_path, text)
    assert words in str(error)
    if line is not None:
        assert error.line == line


def test_alias_bomb_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)
    )
    assert "anchor or alias" in str(fails(tmp_path, bomb))


def test_unreadable_files(tmp_path: Path) -> None:
    def refused(path: Path | str) -> str:
        with pytest.raises(ConfigError) as caught:
            read_yaml(path)
        return str(caught.value)

    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "the file is missing" in refused(tmp_path / "none.yaml")
    assert "the file is a directory" in refused(tmp_path)
    assert "the file is unreadable" in refused(loop)
    assert "the file is unreadable" in refused("a\0b")
    assert "not a regular file" in refused(tmp_path / "pipe.yaml")
    assert "not a regular file" in refused("/dev/zero")
    assert "longer than 1048576 bytes" in refused(write(tmp_path, b"#" * (MAX_BYTES + 1)))


def test_largest_file_is_read(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path, b"#" * MAX_BYTES)).data is None


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["no", "on", "1e3", "0o17", "1:30", "2026-01-01", "~", "null", ".5", "<<"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(plain_values)
def test_dump_reads_back_the_same(value: object) -> None:
    data = {"value": value}
    assert parse_yaml(dump_yaml(data).encode(), path="x").data == data  # type: ignore[arg-type]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "ignore")))
def test_any_bytes_give_values_or_one_error(content: bytes) -> None:
    try:
        parse_yaml(content, path="x")
    except ConfigError as error:
        assert error.file == Path("x")


@pytest.mark.parametrize(
    "text", [GOOD, "name: " + "[" * 5000, "name: \x07", "a: *b", "a: 1\na: 2\n"]
)
def test_python_parser_reads_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> object:
        try:
            return parse_yaml(text.encode(), path="x").data
        except ConfigError as error:
            return (error.key, error.line)

    with_c = outcome()
    monkeypatch.setattr("edgeinspect.files.yaml_file._LOADER", yaml.SafeLoader)
    assert outcome() == with_c
