"""An experiment and its parts as frozen, typed values. Every default lives here."""

import dataclasses
import hashlib
import importlib.util
import json
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flax import linen as nn

from jaxcnn import fields
from jaxcnn.errors import InputError
from jaxcnn.fields import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt
from jaxcnn.objectives import CrossEntropy, MaximumAPosteriori, MeanSquaredError, Objective

# Marks a field that changes neither the weights nor the reported result: not part of the run id, free on resume.
_FREE = {"identity": False}


class _Part:
    """A frozen dataclass whose fields are checked against their annotations when it is made."""

    def __post_init__(self) -> None:
        fields.check(self)


@dataclass(frozen=True, kw_only=True)
class Fake(_Part):
    """Random images with a learnable class signal, for smoke tests and speed measurements (`source="fake"`)."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 32, 1)
    """Height, width, channels in pixels."""
    num_classes: PositiveInt = 10
    """Number of classes."""
    train: PositiveInt = 512
    """Training images."""
    test: PositiveInt = 256
    """Test images."""


@dataclass(frozen=True, kw_only=True)
class Data(_Part):
    """Where images come from and how they reach the network."""

    source: Literal["digits", "arrays", "fake", "tfds"] = "digits"
    """digits: scikit-learn's bundled scans; arrays: an .npz file or arrays in memory; fake: random images; tfds: any
    prepared TFDS image-classification data set."""
    name: str = ""
    """tfds: the data set, with a version if wanted (mnist, cifar10:3.0.2); arrays: path of the .npz file."""
    data_dir: str | None = field(default=None, metadata=_FREE)
    """tfds: folder of prepared data sets; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    train_split: str = "train"
    """tfds: split to train on."""
    test_split: str = "test"
    """tfds: split to test on (imagenet2012 has its labels in 'validation')."""
    validation: Fraction = 0.0
    """Share of the training images set aside for validation, drawn by the experiment's seed."""
    batch_size: PositiveInt = 128
    """Images a training step, over all devices (AlexNet section 5: 128)."""
    eval_batch_size: PositiveInt = field(default=500, metadata=_FREE)
    """Images an evaluation step, over all devices; never changes a result."""
    image_size: PositiveInt | None = None
    """Resize the short side to this many pixels and crop the centre square; None: leave images as they are."""
    pad: NonNegativeInt = 0
    """Rows and columns of zeros around every image (LeNet-5 section II.B: 28x28 digits in a 32x32 field, 2)."""
    decode: Literal["auto", "once", "always"] = field(default="auto", metadata=_FREE)
    """tfds: once: into a cache on disk, which reads fastest; always: whenever an image is read, for sets too large to
    keep; auto: once, unless a split would take more than 32 GiB. Never changes a pixel."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order in which the network takes the channels; every source gives rgb, weights from Caffe and Keras want bgr."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted from pixels scaled to [0, 1]; one value, or one a channel in the order of `channel_order`."""
    std: tuple[Positive, ...] = (1.0,)
    """Divides after the mean is subtracted, ordered as the mean; 1/255 gives raw-scale pixels as AlexNet had."""
    fake: Fake = Fake()
    """Size of the fake data set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "tfds" and not self.name:
            raise InputError("Data.name is empty; source 'tfds' needs one, for example mnist.")


@dataclass(frozen=True, kw_only=True)
class Augment(_Part):
    """Random changes to training images, drawn afresh for every image and step, on the device; in this order."""

    crop: PositiveInt | None = None
    """Side in pixels of a random square window, the network's input; evaluation takes the central one (AlexNet section
    4.1: 224 of 256); None: the whole image."""
    crop_pad: NonNegativeInt = 0
    """Rows and columns of zeros on every side before the window is chosen (usual on CIFAR: 4, with crop 32)."""
    scale_jitter: tuple[PositiveInt, PositiveInt] | None = None
    """Bounds from which the short side of the image is drawn before the crop (VGG section 3.1: 256, 512)."""
    shift: NonNegative = 0.0
    """Largest translation along each axis, in pixels."""
    rotation: NonNegative = 0.0
    """Largest rotation either way, in degrees."""
    scale: Fraction = 0.0
    """Largest relative change of size: factors are drawn from [1 - scale, 1 + scale]."""
    flip: bool = False
    """Mirror half of the images left to right."""
    pca_color: NonNegative = 0.0
    """Standard deviation of the share of each principal component of the training colours, taken with its eigenvalue,
    that is added to an image (AlexNet section 4.1: 0.1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("crop_pad", "scale_jitter"):
            if getattr(self, name) and self.crop is None:
                raise InputError(f"Augment.{name} is {getattr(self, name)}; it needs crop, the side of the window.")
        if self.scale_jitter and not self.crop <= self.scale_jitter[0] <= self.scale_jitter[1]:
            raise InputError(f"Augment.scale_jitter is {self.scale_jitter}; crop {self.crop} <= low <= high must hold.")
        if self.scale_jitter and self.crop_pad:
            raise InputError(f"Augment.crop_pad is {self.crop_pad}; with scale_jitter it must be 0.")


@dataclass(frozen=True, kw_only=True)
class Schedule(_Part):
    """Learning rate over time, as a factor on `learning_rate`."""

    name: Literal["constant", "step", "cosine", "plateau"] = "constant"
    """step: times `factor` at each of `drops`; cosine: to `final` at the last step; plateau: times `factor` when the
    training loss of an epoch has not improved for `patience` epochs (AlexNet section 5 divides by 10)."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear rise from 0 before the schedule proper begins."""
    drops: tuple[Positive, ...] = ()
    """step: epochs, counted from the start of training, at which the rate drops."""
    factor: Fraction = 0.1
    """step, plateau: what the rate is multiplied by."""
    patience: PositiveInt = 5
    """plateau: epochs in a row without improvement after which the rate drops."""
    final: NonNegative = 0.0
    """cosine: factor at the last step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == "step" and not self.drops:
            raise InputError("Schedule.drops is empty; name 'step' needs epochs, for example (30, 60).")
        if list(self.drops) != sorted(set(self.drops)):
            raise InputError(f"Schedule.drops is {self.drops}; it must rise.")
        if not self.factor:
            raise InputError("Schedule.factor is 0.0; it must be above 0, for a rate of 0 ends the learning.")


@dataclass(frozen=True, kw_only=True)
class Optimizer(_Part):
    """The update rule: direction, learning rate, weight decay."""

    algorithm: Literal["sgd", "adam"] = "sgd"
    """sgd with momentum, or Adam; Adam with weight_decay_form 'decoupled' is AdamW."""
    learning_rate: Positive = 0.01
    """Peak learning rate (AlexNet section 5: 0.01)."""
    momentum: Fraction = 0.9
    """sgd: share of the last update kept (AlexNet section 5: 0.9)."""
    nesterov: bool = False
    """sgd: look ahead along the momentum."""
    b1: Fraction = 0.9
    """adam: decay of the first moment."""
    b2: Fraction = 0.999
    """adam: decay of the second moment."""
    eps: Positive = 1e-8
    """adam: added to the denominator."""
    weight_decay: NonNegative = 5e-4
    """Strength (AlexNet section 5, VGG section 3.1: 5e-4)."""
    weight_decay_form: Literal["l2", "krizhevsky", "decoupled"] = "l2"
    """l2: added to the gradient, as PyTorch's SGD and Adam; krizhevsky: the same with the learning rate inside the
    momentum buffer (AlexNet section 5); decoupled: weights shrink by learning_rate * weight_decay (AdamW)."""
    weight_decay_scope: Literal["all", "kernels", "dense", "conv", "none"] = "kernels"
    """Parameters that decay: all of them; every kernel; kernels of dense or of convolutional layers; none."""
    clip_norm: Positive | None = None
    """Scale gradients down to this global norm; None: leave them."""
    schedule: Schedule = Schedule()
    """Learning rate over time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algorithm == "adam" and self.weight_decay_form == "krizhevsky":
            raise InputError("Optimizer.weight_decay_form 'krizhevsky' is for sgd; adam takes 'l2' or 'decoupled'.")


@dataclass(frozen=True, kw_only=True)
class Experiment(_Part):
    """All that decides a run. Equal experiments give equal results."""

    model: nn.Module
    """The network: any linen module with `__call__(x, *, train)`."""
    data: Data = Data()
    """Where images come from."""
    augment: Augment = Augment()
    """Random changes to training images."""
    optimizer: Optimizer = Optimizer()
    """The update rule."""
    objective: Objective = CrossEntropy()
    """What training minimizes and evaluation reports; `MaximumAPosteriori()` and `MeanSquaredError()` are LeNet-5's of
    1998 (section II.C, equations 9 and 8), for logits that are negative squared distances."""
    seed: NonNegativeInt = 0
    """Seeds the weights, the order of the data, augmentation, dropout and the validation split."""
    epochs: PositiveInt = 20
    """Passes over the training images."""
    eval_every: PositiveInt = field(default=1, metadata=_FREE)
    """Epochs between evaluations (on the validation part if there is one, else on the test part)."""
    checkpoint_every: PositiveInt = field(default=1, metadata=_FREE)
    """Epochs between checkpoints; the last is always saved."""
    log_every: PositiveInt = field(default=20, metadata=_FREE)
    """Steps between rows of training metrics, each the mean since the row before."""
    compilation_cache: bool = field(default=False, metadata=_FREE)
    """Keep compiled programs in the cache folder ($JAXCNN_CACHE_DIR, else the user's) and look for them there, so that
    later launches start sooner."""


def load_config(path: str | Path) -> Experiment:
    """The experiment that a config file's `get_config()` returns.

    Raises:
        InputError: no such file, a syntax error (with its line), no `get_config`, or a field it sets wrongly.
    """
    path = Path(path)
    if not path.is_file():
        there = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise InputError(f"config file {path} does not exist.{fields.did_you_mean(path, there)}")
    module = _import_file(path)
    if not callable(getattr(module, "get_config", None)):
        raise InputError(f"config file {path} has no function get_config() that returns an Experiment.")
    experiment = _call(path, module.get_config)
    if not isinstance(experiment, Experiment):
        raise InputError(f"{path}: get_config() returned {type(experiment).__name__}, not an Experiment.")
    return experiment


def override(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """The experiment with fields changed by dotted path: `override(e, {"model.norm": "batch", "seed": 1})`.

    Raises:
        InputError: an unknown path, with the closest known one, or values that do not fit their fields or each other.
    """
    return _replace(experiment, changes, "")


def to_json(value: Any) -> Any:
    """An experiment, or a part of one, as what `json` writes; `from_json` gives back an equal value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {} if isinstance(value, _Part) else {"class": _locate(type(value))}
        return kind | {k: to_json(getattr(value, k)) for k in _settings(value) if not _comes_with_class(value, k)}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "__qualname__", None) and getattr(value, "__module__", None):
        return {"import": _locate(value)}
    raise InputError(f"{value!r} cannot be written as JSON; use numbers, texts, tuples, modules, named functions.")


def from_json(value: Any, hint: Any = Experiment) -> Any:
    """Inverse of `to_json` for a value annotated with `hint`."""
    if isinstance(value, dict) and "import" in value:
        return _find(value["import"])
    if isinstance(value, dict) and "class" in value:
        cls = _find(value["class"])
    elif isinstance(value, dict) and dataclasses.is_dataclass(hint):
        cls = hint
    elif isinstance(value, dict):
        return {k: from_json(v, Any) for k, v in value.items()}
    elif isinstance(value, list):
        return (list if hint is list or typing.get_origin(hint) is list else tuple)(from_json(v, Any) for v in value)
    else:
        return value
    if cls is Experiment:
        value = _translated(value)
    known = fields.hints(cls)
    unknown = [k for k in value if k != "class" and k not in known]
    if unknown:
        raise InputError(f"{cls.__name__} has no field {unknown[0]!r}.{fields.did_you_mean(unknown[0], known)}")
    return cls(**{k: from_json(v, known[k]) for k, v in value.items() if k != "class"})


def _translated(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved experiment in today's fields: until 0.1 the objective was a name under `loss`."""
    if "loss" not in saved:
        return saved
    names = {"cross_entropy": CrossEntropy, "map": MaximumAPosteriori, "mse": MeanSquaredError}
    rest = {name: value for name, value in saved.items() if name != "loss"}
    return rest | {"objective": to_json(names[saved["loss"]]())}


def flatten(experiment: Experiment, *, identity_only: bool = False) -> dict[str, Any]:
    """Settings by dotted path, as in `{"model.class": ..., "optimizer.learning_rate": 0.01}`, in JSON's types.

    Args:
        experiment: what to list.
        identity_only: leave out fields that change neither weights nor results (data_dir, cadences).
    """
    free = {p for p, f in _walk(experiment) if f.metadata.get("identity") is False} if identity_only else set()
    return {path: v for path, v in _leaves(to_json(experiment)) if path not in free}


def run_id(experiment: Experiment) -> str:
    """Twelve hexadecimal digits that equal experiments share, wherever their data lies and however they log."""
    text = json.dumps(flatten(experiment, identity_only=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(saved: Experiment, now: Experiment) -> list[str]:
    """Settings that make two experiments different runs, as lines `optimizer.momentum: saved 0.9, now 0.5`."""
    a, b = flatten(saved, identity_only=True), flatten(now, identity_only=True)
    return [
        f"{path}: saved {a.get(path, 'nothing')}, now {b.get(path, 'nothing')}"
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path)
    ]


def _settings(value: Any) -> list[str]:
    skip = ("parent", "name") if isinstance(value, nn.Module) else ()
    return [f.name for f in dataclasses.fields(value) if f.init and f.name not in skip]


def _comes_with_class(value: Any, name: str) -> bool:
    """A function without an address that is the field's default, such as `nn.initializers.lecun_normal()`."""
    function = getattr(value, name)
    return "<" in getattr(function, "__qualname__", "") and getattr(type(value), name, None) is function


def _walk(value: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    for f in dataclasses.fields(value):
        if f.name in _settings(value):
            yield prefix + f.name, f
            inner = getattr(value, f.name)
            if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
                yield from _walk(inner, f"{prefix}{f.name}.")


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}{key}.")
    else:
        yield prefix[:-1], tree


def _replace(part: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    """Fields of one part change together, for they may only fit each other so."""
    known = _settings(part) if dataclasses.is_dataclass(part) else []
    new: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        key, _, rest = path.partition(".")
        if key not in known:
            close = fields.did_you_mean(prefix + key, [prefix + k for k in known])
            raise InputError(f"unknown field {prefix + path!r}.{close}")
        if rest:
            inner.setdefault(key, {})[rest] = value
        else:
            new[key] = value
    for key, deeper in inner.items():
        new[key] = _replace(new.get(key, getattr(part, key)), deeper, f"{prefix}{key}.")
    return part.clone(**new) if isinstance(part, nn.Module) else dataclasses.replace(part, **new)


def _locate(thing: Any) -> str:
    """Where a class or function is found again: `jaxcnn.models.LeNet5`, or `/path/of/config.py:MyNet`."""
    module = sys.modules[thing.__module__]
    if "<" in thing.__qualname__ or "." in thing.__qualname__ or not hasattr(module, "__file__"):
        raise InputError(f"config.json cannot say where {thing.__qualname__} is; define it at the top level of a file.")
    if module.__name__ == "__main__" or getattr(module, "__spec__", None) is None or module.__name__.startswith(_FILE):
        return f"{Path(module.__file__).resolve()}:{thing.__qualname__}"
    # Public names live in the package; the file that defines them is free to move.
    package = module.__name__.rpartition(".")[0]
    if getattr(sys.modules.get(package), thing.__qualname__, None) is thing:
        return f"{package}.{thing.__qualname__}"
    return f"{module.__name__}.{thing.__qualname__}"


def _find(where: str) -> Any:
    file, colon, name = where.rpartition(":")
    try:
        if colon:
            return getattr(_loaded(Path(file)), name)
        module, _, name = where.rpartition(".")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, OSError) as error:
        raise InputError(f"{where} is named in a saved configuration but cannot be imported: {error}.") from error


_FILE = "jaxcnn_file_"


def _module_name(path: Path) -> str:
    return _FILE + hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _loaded(path: Path) -> types.ModuleType:
    """The module that a file already is in this process; running it again would make other classes of the same name."""
    if getattr(sys.modules["__main__"], "__file__", None) and Path(sys.modules["__main__"].__file__).resolve() == path:
        return sys.modules["__main__"]
    return sys.modules.get(_module_name(path)) or _import_file(path)


def _import_file(path: Path) -> types.ModuleType:
    path = path.resolve()
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        _call(path, lambda: spec.loader.exec_module(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _call(path: Path, function: Callable[[], Any]) -> Any:
    """Run a config file's code; what goes wrong in it is the user's to mend, so say where, in a line."""
    try:
        return function()
    except InputError as error:
        raise InputError(f"{_place(path, error)}: {error}") from error
    except SyntaxError as error:
        raise InputError(f"{error.filename or path}, line {error.lineno}: syntax error: {error.msg}.") from error
    except Exception as error:
        word = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        known = {name for cls in [*_Part.__subclasses__(), *_models()] for name in fields.hints(cls)}
        close = fields.did_you_mean(word[1], known) if word else ""
        if word and word[1] == "loss":
            close = " Write objective=CrossEntropy(), MaximumAPosteriori() or MeanSquaredError() of jaxcnn.objectives."
        raise InputError(f"{_place(path, error)}: {type(error).__name__}: {error}.{close}") from error


def _place(path: Path, error: BaseException) -> str:
    file = str(path.resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _models() -> list[type[nn.Module]]:
    from jaxcnn import models

    return [cls for cls in vars(models).values() if isinstance(cls, type) and issubclass(cls, nn.Module)]
