"""Reads the tensors of a PyTorch file of the old kind, without PyTorch.

``torch.save`` wrote before 1.6, in this order: three pickles (a magic number, the protocol and the
writer's types), a pickle of the object whose tensors name their storage, a pickle with the
storages' keys, and each storage as its length (int64) and its values, little-endian.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LARGEST_BYTES = 512 << 20
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a state dictionary by name, in its order.

    Raises:
        ModelRefused: the file cannot be read, or it holds anything but float32 and int64 tensors.
    """
    try:
        content = path.read_bytes()
        if len(content) > _LARGEST_BYTES:
            raise ValueError(f"larger than {_LARGEST_BYTES >> 20} MiB")
        return _read(BytesIO(content))
    except Exception as error:  # a damaged pickle raises almost anything
        raise ModelRefused(
            f"{path} cannot be read as a PyTorch file of the old kind ({str(error)[:100]})."
        ) from error


def _read(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    magic, protocol, writer = (_Limited(file).load() for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or not writer.get("little_endian"):
        raise ValueError("another kind of file")
    state = _Limited(file).load()
    keys = _Limited(file).load()
    tensors: Mapping[str, Any] = dict(state)
    wanted = {t.storage.key: t.storage for t in tensors.values() if isinstance(t, _Tensor)}
    values: dict[str, NDArray[Any]] = {}
    for key in keys:
        storage = wanted[key]
        (size,) = np.frombuffer(file.read(8), "<i8")
        if size != storage.size:
            raise ValueError(f"storage {key} has {size} values, not {storage.size}")
        data = file.read(size * storage.dtype.itemsize)
        values[key] = np.frombuffer(data, storage.dtype, count=size)
    return {name: _array(tensor, values) for name, tensor in tensors.items()}


def _array(tensor: Any, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if not isinstance(tensor, _Tensor):
        raise ValueError("it holds more than tensors")
    flat = values[tensor.storage.key]
    last = tensor.offset + sum(
        (extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or last >= flat.size:
        raise ValueError("a tensor lies outside its storage")
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :],
        tensor.shape,
        [stride * flat.itemsize for stride in tensor.strides],
        writeable=False,
    )
    return view.copy()


def _rebuilt(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object
) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _Limited(pickle.Unpickler):
    """An unpickler that can make dictionaries and descriptions of tensors, and nothing else."""

    _ALLOWED: Mapping[tuple[str, str], Callable[..., object]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "torch" and global_name in _DTYPES:
            return _DTYPES[global_name]
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed") from None

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, dtype, key, _, size, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("a storage of another kind")
        return _Storage(str(key), dtype, int(size))
