"""A file of weights, whoever wrote it: its arrays, how they lie, and what its images must look like."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jaxcnn.runtime import fields
from jaxcnn.runtime.atomic import replacing
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Positive
from jaxcnn.weights.keras_file import read_keras
from jaxcnn.weights.torch_pickle import read_torch

Layout = Literal["torchvision", "keras", "jaxcnn"]
"""jaxcnn: `params/conv1_1/kernel` and `batch_stats/norm1_1/mean`; kernels [height, width, in, out] and [in, out], the
first dense one's inputs in the order height, width, channel. torchvision: `features.0.weight`; [out, in, height, width]
and [out, in], inputs in the order channel, height, width. keras: as ours, under the names of Keras' layers."""


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of images scaled to [0, 1]: fields of `jaxcnn.Data` of the same names."""

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
"""What weights for ImageNet are taken to expect where their file records nothing: torchvision's mean and deviation; for
Keras' VGG, as for Simonyan & Zisserman's own weights, pixels in 0..255 less the mean of blue, green and red; for ours
pixels in [0, 1]."""


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        arrays: NumPy arrays by the file's own names.
        layout: how they are named and how they lie.
        preprocessing: of the images that they were trained on, where the file records it.
    """

    arrays: Mapping[str, np.ndarray]
    layout: Layout
    preprocessing: Preprocessing | None


def read(path: Path) -> WeightFile:
    """Read a .safetensors, .pth, .pt, .npz, .h5 or .keras file, without PyTorch or Keras and without running its code.

    Raises:
        InputError: there is no such file, its suffix is none of these, it is damaged or no file of weights, or a pickle
            that would run code.
    """
    readers = {
        ".safetensors": _read_safetensors,
        ".npz": _read_npz,
        ".pth": lambda path: (read_torch(path), None),
        ".pt": lambda path: (read_torch(path), None),
        ".h5": lambda path: (_sorted(read_keras(path)), None),
        ".keras": lambda path: (_sorted(read_keras(path)), None),
    }
    if path.suffix not in readers:
        raise InputError(f"{path} has suffix {path.suffix!r}; weights are read from {', '.join(readers)}.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a file of weights, or the folder of a run.")
    try:
        arrays, recorded = readers[path.suffix](path)
        preprocessing = recorded and Preprocessing(**json.loads(recorded))
    except InputError:
        raise
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise InputError(
            f"{path} cannot be read: it is cut short, damaged or no {path.suffix} file ({cause})."
        ) from error
    if not arrays:
        raise InputError(f"{path} holds no arrays; give a file of weights.")
    if path.suffix in (".h5", ".keras"):
        layout: Layout = "keras"
    else:
        layout = "jaxcnn" if any(name.startswith("params/") for name in arrays) else "torchvision"
    # timm keeps the first dense layers as convolutions over the whole map.
    arrays = {k: x.reshape(len(x), -1) if k.startswith("pre_logits.") and x.ndim > 1 else x for k, x in arrays.items()}
    return WeightFile(arrays, layout, preprocessing)


def write(path: Path, weights: WeightFile) -> None:
    """Write a .safetensors or .npz file that `read` reads back to equal arrays and the same preprocessing.

    Both hold the preprocessing as JSON beside the arrays: .safetensors in its metadata, .npz under `preprocessing`.

    Raises:
        InputError: the suffix is another, or the file cannot be written; no half of it is left.
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


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        names, recorded = file.keys(), (file.metadata() or {}).get("preprocessing")
        return _sorted({name: file.get_tensor(name) for name in names}), recorded


def _write_safetensors(path: Path, arrays: dict[str, np.ndarray], recorded: str) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata={"preprocessing": recorded})


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    recorded = arrays.pop("preprocessing", None)
    return arrays, None if recorded is None else str(recorded)


def _write_npz(path: Path, arrays: dict[str, np.ndarray], recorded: str) -> None:
    with path.open("wb") as file:
        np.savez(file, preprocessing=np.array(recorded), **arrays)


def _sorted(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In the order of layers, where a file keeps none: numbers by value; timm's `head` comes after `pre_logits`."""

    def key(name: str) -> tuple:
        return name.startswith("head"), [(p.isdigit(), int(p) if p.isdigit() else p) for p in re.split(r"(\d+)", name)]

    return {name: arrays[name] for name in sorted(arrays, key=key)}
