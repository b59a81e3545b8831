"""PyTorch files of the old kind, written here as PyTorch writes them, and others."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused
from edgeinspect_tools.train.torch_file import read_torch_tensors

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    """Stands for a tensor's values while its description is pickled."""

    def __init__(self, key: str, kind: Any, values: NDArray[Any]) -> None:
        self.key, self.kind, self.values = key, kind, values


class TensorOf:
    """A view of a storage, pickled as PyTorch pickles a tensor."""

    def __init__(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self._parts: tuple[Any, ...] = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return vars(sys.modules["torch._utils"])["_rebuild_tensor_v2"], self._parts


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        return ("storage", obj.kind, obj.key, "cpu", len(obj.values), None)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """As much of PyTorch's names as its files mention."""
    package, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_: object) -> None:
        raise AssertionError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    vars(utils)["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        vars(package)[name] = type(name, (), {"__module__": "torch"})
    vars(package)["_utils"] = utils
    monkeypatch.setitem(sys.modules, "torch", package)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return package


def written(
    path: Path, state: Mapping[str, object], storages: list[Storage], *, magic: int = MAGIC
) -> Path:
    file = BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    writer = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    for part in (magic, 1001, writer):
        pickle.dump(part, file, protocol=2)
    Pickler(file, protocol=2).dump(OrderedDict(state))
    pickle.dump([storage.key for storage in storages], file, protocol=2)
    for storage in storages:
        file.write(np.array([len(storage.values)], "<i8").tobytes() + storage.values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_tensors_come_back_in_order_with_their_strides(
    torch: types.ModuleType, tmp_path: Path
) -> None:
    values = np.arange(24, dtype="<f4")
    weights = Storage("7", torch.FloatStorage, values)
    count = Storage("9", torch.LongStorage, np.array([5], "<i8"))
    state = {
        "a.weight": TensorOf(weights, 0, (2, 3, 4), (1, 8, 2)),
        "a.bias": TensorOf(weights, 20, (4,), (1,)),
        "a.count": TensorOf(count, 0, (), ()),
    }
    found = read_torch_tensors(written(tmp_path / "a.pth", state, [count, weights]))
    assert list(found) == ["a.weight", "a.bias", "a.count"]
    assert np.array_equal(found["a.weight"], values.reshape(3, 4, 2).transpose(2, 0, 1))
    assert found["a.bias"].tolist() == [20.0, 21.0, 22.0, 23.0]
    assert int(found["a.count"]) == 5


class Command:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("an order was carried out",)


def test_a_file_that_gives_orders_is_refused_and_they_are_not_carried_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "a.pth", {"a": Command()}, [])
    with pytest.raises(ModelRefused, match=r"a\.pth cannot be read .*print is not allowed"):
        read_torch_tensors(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (25,), (1,)), (23, (2,), (1,)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (1, 1), (1,))],
)
def test_a_tensor_outside_its_storage_is_refused(
    torch: types.ModuleType,
    tmp_path: Path,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> None:
    storage = Storage("7", torch.FloatStorage, np.arange(24, dtype="<f4"))
    path = written(tmp_path / "a.pth", {"a": TensorOf(storage, offset, shape, strides)}, [storage])
    with pytest.raises(ModelRefused, match="cannot be read as a PyTorch file of the old kind"):
        read_torch_tensors(path)


def test_other_files_are_refused(torch: types.ModuleType, tmp_path: Path) -> None:
    storage = Storage("7", torch.FloatStorage, np.arange(24, dtype="<f4"))
    half = Storage("8", torch.HalfStorage, np.arange(24, dtype="<f2"))
    tensor = TensorOf(storage, 0, (24,), (1,))
    whole = written(tmp_path / "whole.pth", {"a": tensor}, [storage]).read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[:-40])
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    written(tmp_path / "magic.pth", {"a": tensor}, [storage], magic=1)
    written(tmp_path / "number.pth", {"a": 3}, [])
    written(tmp_path / "half.pth", {"a": TensorOf(half, 0, (24,), (1,))}, [half])
    for name in ("short", "zip", "magic", "number", "half", "missing"):
        with pytest.raises(ModelRefused, match=rf"{name}\.pth cannot be read"):
            read_torch_tensors(tmp_path / f"{name}.pth")


def test_a_damaged_file_is_refused_or_read(torch: types.ModuleType, tmp_path: Path) -> None:
    storage = Storage("7", torch.FloatStorage, np.arange(24, dtype="<f4"))
    tensor = TensorOf(storage, 0, (24,), (1,))
    whole = written(tmp_path / "whole.pth", {"a": tensor}, [storage]).read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for number in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 1 + number % 4):
            damaged[at] = rng.integers(0, 256)
        (tmp_path / "a.pth").write_bytes(damaged)
        try:
            assert set(map(type, read_torch_tensors(tmp_path / "a.pth").values())) <= {np.ndarray}
        except ModelRefused:
            refused += 1
    assert 100 < refused < 300
