"""Weight files of every supported format: their arrays, layout and image preprocessing."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jaxcnn.runtime import fields
from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Positive
from jaxcnn.weights.keras_file import read_keras
from jaxcnn.weights.order import natural
from jaxcnn.weights.torch_pickle import read_torch

Layout = Literal["torchvision", "keras", "jaxcnn"]
"""jaxcnn: `params/conv1_1/kernel` and `batch_stats/norm1_1/mean`; kernels [height, width, in, out] and [in, out], with
the inputs of the first dense layer in the order height, width, channel. torchvision: `features.0.weight`; kernels
[out, in, height, width] and [out, in], with these inputs in the order channel, height, width. keras: as jaxcnn, under
the names of Keras' layers."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network expects images scaled to [0, 1] to be preprocessed; `jaxcnn.Data` has fields of the same names."""

    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)

    def __post_init__(self) -> None:
        fields.check(self)


PREPROCESSING: Mapping[Layout, Preprocessing] = {
    "torchvision": Preprocessing("rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "keras": Preprocessing("bgr", tuple(mean / 255 for mean in (103.939, 116.779, 123.68)), (1 / 255,)),
    "jaxcnn": Preprocessing(),
}
"""The preprocessing assumed for ImageNet weights whose file records none: torchvision's mean and deviation; for Keras'
VGG, as for Simonyan & Zisserman's own weights, pixels in 0..255 minus the mean of blue, green and red; for
jaxcnn pixels in [0, 1]."""

TORCH_EPSILON = 1e-5
"""The epsilon that the batch norms of torchvision's networks add to the running variance."""


@dataclass(frozen=True)
class WeightFile:
    """The contents of a weight file.

    Attributes:
        arrays: NumPy arrays by the file's own names, layer by layer.
        layout: names and axis order of the arrays.
        preprocessing: preprocessing of the training images, if the file records it.
        ordered: whether the file itself records the order of its layers; otherwise only their names can determine it.
        epsilon: epsilon that the batch norms of a foreign layout add to the running variance.
    """

    arrays: Mapping[str, np.ndarray]
    layout: Layout
    preprocessing: Preprocessing | None
    ordered: bool = True
    epsilon: float = TORCH_EPSILON


def read(path: Path) -> WeightFile:
    """Read a .safetensors, .pth, .pt, .npz, .h5 or .keras file, without PyTorch or Keras and without running its code.

    Raises:
        InputError: the file does not exist, has another suffix, is damaged, is not a weight file or is a pickle that
            would run code; or as in `read_torch` and `read_keras`.
    """
    readers: dict[str, Callable[[Path], WeightFile]] = {
        ".safetensors": _read_safetensors,
        ".npz": _read_npz,
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".h5": _read_keras,
        ".keras": _read_keras,
    }
    if path.suffix not in readers:
        raise InputError(f"{path} has suffix {path.suffix!r}; weights are read from {', '.join(readers)}.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a weight file or a run folder.")
    _refuse_text(path)
    try:
        weights = readers[path.suffix](path)
    except InputError:
        raise
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise InputError(
            f"{path} cannot be read: it is truncated, damaged or not a {path.suffix} file ({cause})."
        ) from error
    if not weights.arrays:
        raise InputError(f"{path} holds no arrays; give a weight file.")
    return weights


def _refuse_text(path: Path) -> None:
    """Refuse text files that are often saved instead of weights."""
    with path.open("rb") as file:
        start = file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer instead of the weights; fetch them with `git lfs pull`.")
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise InputError(f"{path} is a web page (HTML or XML), not weights; download the file itself.")


def write(path: Path, weights: WeightFile) -> None:
    """Write a .safetensors or .npz file, from which `read` returns equal arrays and the same preprocessing.

    Both hold the preprocessing as JSON beside the arrays: .safetensors in its metadata, .npz under `preprocessing`.

    Raises:
        InputError: the file has another suffix or cannot be written; no partial file is left.
    """
    writers = {".safetensors": _write_safetensors, ".npz": _write_npz}
    if path.suffix not in writers:
        raise InputError(f"{path} has suffix {path.suffix!r}; weights are written to {', '.join(writers)}.")
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.arrays.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            writers[path.suffix](draft, arrays, json.dumps(asdict(weights.preprocessing)))
    except Exception as error:
        raise InputError(f"{path} cannot be written: {error}. Give another --output.") from error


def _weight_file(arrays: dict[str, np.ndarray], recorded: str | None = None, *, ordered: bool) -> WeightFile:
    """Return arrays in torchvision's layout or in jaxcnn's, by their names; `recorded` is the preprocessing as JSON."""
    preprocessing = None if recorded is None else Preprocessing(**json.loads(recorded))
    layout: Layout = "jaxcnn" if any(name.startswith("params/") for name in arrays) else "torchvision"
    if not ordered:
        arrays = {name: arrays[name] for name in sorted(arrays, key=natural)}
    # timm keeps the first dense layers as convolutions over the whole map.
    arrays = {k: x.reshape(len(x), -1) if k.startswith("pre_logits.") and x.ndim > 1 else x for k, x in arrays.items()}
    return WeightFile(arrays, layout, preprocessing, ordered)


def _read_torch(path: Path) -> WeightFile:
    return _weight_file(read_torch(path), ordered=True)


def _read_keras(path: Path) -> WeightFile:
    found = read_keras(path)
    return WeightFile(found.arrays, "keras", None, found.ordered, found.epsilon)


def _read_safetensors(path: Path) -> WeightFile:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        names, recorded = file.keys(), (file.metadata() or {}).get("preprocessing")
        # The format sorts its arrays.
        return _weight_file({name: file.get_tensor(name) for name in names}, recorded, ordered=False)


def _write_safetensors(path: Path, arrays: dict[str, np.ndarray], recorded: str) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata={"preprocessing": recorded})


def _read_npz(path: Path) -> WeightFile:
    if not zipfile.is_zipfile(path):
        raise ValueError("not an archive of np.savez")
    arrays: dict[str, np.ndarray] = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError as error:
                # NumPy's own message advises loading the file unsafely.
                if "pickle" in str(error):
                    raise InputError(
                        f"{path}: {name} holds Python objects, which can run code when loaded; save arrays of numbers."
                    ) from None
                raise
    recorded = arrays.pop("preprocessing", None)
    # Sorted names may be the order of the network, or a program may have sorted them.
    ordered = list(arrays) != sorted(arrays)
    return _weight_file(arrays, None if recorded is None else str(recorded), ordered=ordered)


def _write_npz(path: Path, arrays: dict[str, np.ndarray], recorded: str) -> None:
    with path.open("wb") as file:
        np.savez(file, preprocessing=np.array(recorded), **arrays)
