"""PyTorch's .pth and .pt files, read without PyTorch; their pickles may only rebuild tensors."""

import math
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from jaxcnn.runtime.errors import InputError

_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}

# Keys under which to look for the weights, in this order, if a checkpoint holds several sets.
_KEYS = ("state_dict", "model", "model_state_dict")

# The first pickle of a file written before PyTorch 1.6.
_MAGIC = 0x1950A86A20F9469CFC6C


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a saved state dict by name, in its order.

    Both formats of torch.save since 0.1.10 are read: the zip archive and the earlier sequence of pickles. A state dict
    inside a training checkpoint is found under any keys if it is the only one, or if it is under `state_dict`, `model`
    or `model_state_dict`; counters, losses, optimizers and schedulers beside it are ignored.

    Raises:
        InputError: the pickle names a global other than those of tensors and numbers (none of it is run) or holds no
            state dict or several; or the file is from an earlier PyTorch or is a TorchScript archive.
        Exception: of many kinds, if the file is damaged.
    """
    if tarfile.is_tarfile(path):
        raise InputError(f"{path} is from PyTorch before 0.1.10; load it with PyTorch and save its state_dict() again.")
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        state, storage = _from_zip(path) if is_zip else _from_pickles(file, path)
        tensors = _state_dict(path, dict(_tensor_dicts(state)), state)
        return {name: _array(tensor, storage) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class _Storage:
    """A sequence of numbers in the file, named by its key."""

    key: str
    dtype: str
    count: int

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.count * jnp.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Ignored:
    """An object beside the tensors of a checkpoint, such as a NumPy scalar, which is not rebuilt."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """An unpickler that allows the globals of tensors and plain numbers, and refuses others before importing them."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self._path = path
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        # Created on every call, so that a pickle that sets attributes has no lasting effect.
        known: dict[tuple[str, str], Callable] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): lambda sizes=(): tuple(sizes),
            ("torch._utils", "_rebuild_tensor"): lambda *parts: _Tensor(*parts[:4]),
            ("torch._utils", "_rebuild_tensor_v2"): lambda *parts: _Tensor(*parts[:4]),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            # Beside the weights are options, counters of schedulers, the state of an old optimizer and NumPy's numbers.
            ("argparse", "Namespace"): _Ignored,
            ("collections", "Counter"): lambda *_: {},
            ("collections", "defaultdict"): lambda *_: {},
            ("builtins", "dict"): lambda *_: {},
            ("__builtin__", "dict"): lambda *_: {},
            ("torch", "device"): _Ignored,
            ("numpy", "dtype"): _Ignored,
            ("numpy", "ndarray"): _Ignored,
            ("_codecs", "encode"): _Ignored,
            **{
                (f"numpy.{core}.multiarray", name): _Ignored
                for core in ("core", "_core")
                for name in ("scalar", "_reconstruct")
            },
        }
        if (module, name) not in known:
            raise InputError(
                f"{self._path} was not read: its pickle would run {module}.{name}, and only tensors are allowed. "
                "If you trust it, load it with PyTorch and save its state_dict() alone."
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or any(view):
            raise pickle.UnpicklingError("unknown kind of storage")
        return self.storages.setdefault(key, _Storage(str(key), dtype, int(count)))


def _tensor_dicts(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, _Tensor]]]:
    """Yield every dict of tensors by name in a checkpoint, except an optimizer's, with the keys that lead to it."""
    if not isinstance(content, dict) or "param_groups" in content:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, _Tensor)}
    if tensors:
        yield path, tensors
    for name, value in named.items():
        yield from _tensor_dicts(value, (*path, name))


def _state_dict(path: Path, found: dict[tuple[str, ...], dict[str, _Tensor]], content: Any) -> dict[str, _Tensor]:
    """Return the state dict of the network: its kernels have two axes or more, whereas a loss has none."""
    with_kernels = {keys: state for keys, state in found.items() if any(len(t.shape) > 1 for t in state.values())}
    found = with_kernels or found
    if len(found) == 1:
        return next(iter(found.values()))
    for key in _KEYS:
        if under := {keys[1:]: state for keys, state in found.items() if keys[:1] == (key,)}:
            return _state_dict(path, under, content)
    if found:
        names = ", ".join(".".join(keys) or "its top level" for keys in found)
        raise InputError(f"{path} holds several sets of weights, under {names}; save one of them alone.")
    if not isinstance(content, dict):
        kind = "tensor" if isinstance(content, _Tensor) else type(content).__name__
        raise InputError(f"{path} holds one {kind} instead of tensors by name; save a model's state_dict().")
    keys = ", ".join(map(str, list(content)[:8])) + (", ..." if len(content) > 8 else "")
    raise InputError(f"{path} holds no weights under its keys ({keys}); save a model's state_dict().")


def _array(tensor: _Tensor, read: Callable[[_Storage], np.ndarray]) -> np.ndarray:
    """Return the numbers of a tensor, copied only if they are not contiguous."""
    shape, strides = tuple(map(int, tensor.shape)), tuple(map(int, tensor.strides))
    numbers = read(tensor.storage)
    first, last = int(tensor.offset), int(tensor.offset)
    last += sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    inside = first >= 0 and min((*shape, *strides), default=0) >= 0 and last < len(numbers)
    if math.prod(shape) and not inside:
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    numbers = numbers[first:] if math.prod(shape) else np.zeros(1, numbers.dtype)
    steps = tuple(stride * numbers.itemsize for stride in strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(numbers, shape, steps)).reshape(shape)


def _from_zip(path: Path) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("constants.pkl") for name in names):
            raise InputError(
                f"{path} is a TorchScript archive, a program; load it with torch.jit.load and save its state_dict()."
            )
        root = next(name for name in names if name.endswith("data.pkl")).removesuffix("data.pkl")
        with archive.open(root + "data.pkl") as file:
            state = _Unpickler(file, path).load()
        big = root + "byteorder" in names and archive.read(root + "byteorder") == b"big"

    def read(storage: _Storage) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            return _numbers(archive.read(f"{root}data/{storage.key}"), storage, big)

    return state, read


def _from_pickles(file: BinaryIO, path: Path) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    """Read magic number, version, system, state and keys, followed by the length and numbers of every storage."""
    if _Unpickler(file, path).load() != _MAGIC:
        raise pickle.UnpicklingError("not a file of torch.save")
    _Unpickler(file, path).load()
    big = not _Unpickler(file, path).load()["little_endian"]
    unpickler = _Unpickler(file, path)
    state, starts = unpickler.load(), {}
    for key in _Unpickler(file, path).load():
        starts[key] = file.seek(8, 1)
        file.seek(unpickler.storages[key].size, 1)

    def read(storage: _Storage) -> np.ndarray:
        file.seek(starts[storage.key])
        return _numbers(file.read(storage.size), storage, big)

    return state, read


def _numbers(data: bytes, storage: _Storage, big: bool) -> np.ndarray:
    if len(data) != storage.size:
        raise pickle.UnpicklingError(f"storage {storage.key} is truncated")
    numbers = np.frombuffer(data, jnp.dtype(storage.dtype))
    return numbers.byteswap() if big else numbers
