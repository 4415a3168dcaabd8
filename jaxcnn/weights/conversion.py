"""Foreign weights, read for a jaxcnn network."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.config import Augment, Data, Experiment, load_config
from jaxcnn.data.shape import image_shape
from jaxcnn.layers import BatchNorm, Shape
from jaxcnn.models import VGG, ZOO, ConvNet, named
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import IMPLEMENTATION
from jaxcnn.weights.file import PREPROCESSING, Layout, Preprocessing, WeightFile, read
from jaxcnn.weights.match import Pair, match
from jaxcnn.weights.order import series
from jaxcnn.weights.variance import fold_epsilon


@dataclass(frozen=True)
class Conversion:
    """A weight file and the jaxcnn network that it is for.

    Attributes:
        file: path of the weight file.
        weights: contents of the file.
        name: name of the network: in the zoo, or a config file or a run folder.
        experiment: experiment of the network, with the preprocessing that the weights need.
        shape: (height, width, channels) of the network's input.
        pairs: every array of the file and of the network, with its fate.
    """

    file: Path
    weights: WeightFile
    name: str
    experiment: Experiment
    shape: Shape
    pairs: tuple[Pair, ...]

    def check(self) -> None:
        """Check that the file has every array of the network and no other, in a known order, of finite numbers.

        Raises:
            InputError: an array does not fit (the message names the first, both shapes and what to do), the order of
                layers of the same shape is unknown, a number is not finite in float32, or a variance is below 0.
        """
        wrong, dense = _wrong(self.pairs), _dense_layers(self.experiment.model)
        where = f"{self.file} does not fit {self.name}"
        if not wrong:
            self._check_order()
            self._check_numbers()
            return
        if _lacks_dense(wrong, self.pairs, dense):
            raise InputError(
                f"{where}: it has no dense layers (include_top=False); re-initialize {', '.join(dense)} with "
                "--drop_head."
            )
        if classes := _classes(wrong, dense):
            raise InputError(
                f"{where}: it has {classes[0]} classes, but {dense[-1]} has {classes[1]}. Keep them with "
                f"--num_classes={classes[0]}, or re-initialize {dense[-1]} with --drop_head."
            )
        others = [name for name in _fitting(self.weights) if name != self.name]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        advice = f" It fits --model={others[0]}." if others else ""
        raise InputError(f"{where}: {self._complaint(wrong[0])}{more}.{advice}")

    def variables(self) -> dict[str, Any]:
        """Return the variables for `model.apply`: `params` and `batch_stats` by layer, float32 NumPy arrays.

        Raises:
            InputError: as in `check`.
        """
        self.check()
        flat: dict[str, np.ndarray] = {}
        for pair in self.pairs:
            if pair.fate == "used":
                array = self.weights.arrays[pair.source]
                if pair.slot and self.weights.layout == "torchvision":
                    array = pair.slot.from_torch(array)
                if pair.slot and pair.slot.epsilon is not None:
                    array = fold_epsilon(array, self.weights.epsilon, pair.slot.epsilon)
                flat[pair.path] = np.ascontiguousarray(array, np.float32)
        reinitialized = [pair.path for pair in self.pairs if pair.fate == "re-initialized"]
        if reinitialized:
            flat |= jax.device_get(_initial_values(self.experiment, self.shape, reinitialized))
        return {"params": {}, "batch_stats": {}} | unflatten_dict(flat, sep="/")

    def _check_order(self) -> None:
        ambiguous = [pair for pair in self.pairs if pair.fate == "ambiguous"]
        if not ambiguous:
            return
        array, shape = ambiguous[0].slot.array, ambiguous[0].source_shape
        alike = [pair.source for pair in ambiguous if (pair.slot.array, pair.source_shape) == (array, shape)]
        names = ", ".join({series(name): name for name in alike}.values())
        raise InputError(
            f"{self.file} does not record the order of its layers, and several have the shape {shape} ({names}). "
            "Save them under numbered names (conv1, conv2, ...), or in a format that keeps the order: PyTorch's "
            "state_dict() or Keras' whole model."
        )

    def _check_numbers(self) -> None:
        for pair in self.pairs:
            array = self.weights.arrays[pair.source] if pair.fate == "used" else np.zeros(0)
            if not array.size:
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = array.astype(np.float32, copy=False)
                finite = np.isfinite(numbers.min()) and np.isfinite(numbers.max())
            if not finite:
                number = array[~np.isfinite(numbers)][0]
                why = "is too large for float32" if np.isfinite(number) else "is not finite"
                raise InputError(
                    f"{self.file}: {pair.source} holds {number}, which {why}. Use weights that were saved before the "
                    "training diverged."
                )
            if pair.slot and pair.slot.epsilon is not None and numbers.min() + self.weights.epsilon <= 0:
                raise InputError(f"{self.file}: {pair.source} holds {numbers.min()}; a variance must be at least 0.")

    def _complaint(self, pair: Pair) -> str:
        if pair.fate == "missing":
            return f"it has no array for {pair.path} {pair.wanted}"
        if pair.fate == "unexpected":
            return f"it has {pair.source} {pair.source_shape}, which the network does not have"
        if pair.source_shape == pair.wanted:
            dtype = self.weights.arrays[pair.source].dtype
            return f"{pair.source} has dtype {dtype}, but {pair.path} needs floating point"
        return f"{pair.source} has shape {pair.source_shape}, but {pair.path} needs {pair.wanted}"


def load(
    file: str | Path, model: str | None = None, *, num_classes: int | None = None, drop_head: bool = False
) -> Conversion:
    """Read foreign weights for a jaxcnn network; nothing is written.

    Args:
        file: .safetensors, .pth, .pt, .npz, .h5 or .keras.
        model: name in `jaxcnn.models.ZOO` of a network for ImageNet, whose images are preprocessed as recorded in the
            file, or else as in `PREPROCESSING`; or a config file or run folder, whose network and data are used.
            None: the network of the zoo whose arrays have these shapes; foreign files are assumed to have no local
            response normalization, which has no arrays.
        num_classes: number of classes of the network; None: that of the file for a network of the zoo (1000 with
            `drop_head`), that of the model otherwise.
        drop_head: whether to re-initialize the last dense layer, or every dense layer if the file has none, with the
            experiment's seed.

    Returns:
        The conversion; call `check` to test whether everything fits.

    Raises:
        InputError: the file cannot be read, or the network is unknown or cannot be identified from the arrays.
    """
    file = Path(file)
    weights = read(file)
    name = model or _guess(file, weights)
    experiment, shape = _target(name, weights.layout)
    if num_classes is not None:
        if not hasattr(experiment.model, "num_classes"):
            raise InputError(f"--num_classes={num_classes}: {name} has a fixed number of classes; leave it out.")
        experiment = _with_classes(experiment, num_classes)
    norm = getattr(experiment.model, "norm", None)
    if isinstance(norm, BatchNorm) and not _has_data(name):
        norm = dataclasses.replace(norm, epsilon=weights.epsilon)
        experiment = dataclasses.replace(experiment, model=experiment.model.clone(norm=norm))
    if weights.preprocessing is not None:
        experiment = _preprocessed(experiment, weights.preprocessing)
    pairs = match(weights, experiment.model, shape)
    classes = _classes(_wrong(pairs), _dense_layers(experiment.model))
    if classes and num_classes is None and not drop_head and not _has_data(name):
        experiment = _with_classes(experiment, classes[0])
        pairs = match(weights, experiment.model, shape)
    if drop_head:
        dense = _dense_layers(experiment.model)
        if not dense:
            raise InputError(f"--drop_head: {name} has no dense layer; leave it out.")
        dropped = dense if _lacks_dense(_wrong(pairs), pairs, dense) else dense[-1:]
        pairs = tuple(new for pair in pairs for new in (_dropped(pair) if pair.layer in dropped else (pair,)))
    return Conversion(file, weights, name, experiment, shape, pairs)


def _target(name: str, layout: Layout) -> tuple[Experiment, Shape]:
    """Return the experiment of the network of that name, and the shape of its images."""
    if _has_data(name):
        experiment = load_config(name) if name.endswith(".py") else load_saved(name)
        return experiment, image_shape(experiment.data, experiment.augment)
    entry = named(name)
    if not entry.for_imagenet:
        raise InputError(f"--model={name} is not for ImageNet; give a config file, which also defines the data.")
    model = entry.model
    if layout == "torchvision" and isinstance(model, VGG):
        model = model.clone(head="torchvision")
    # The accuracies of all these weights were measured on the centre of images with this short side. All were trained
    # with mirrored images.
    settings = Data(source="tfds", name="imagenet2012", test_split="validation", image_size=256)
    experiment = Experiment(model=model, data=settings, augment=Augment(crop=entry.shape[0], flip=True))
    return _preprocessed(experiment, PREPROCESSING[layout]), entry.shape


def _has_data(name: str) -> bool:
    """Whether a network is named by a config file or a run folder, whose data have a number of classes."""
    return name.endswith(".py") or Path(name).is_dir()


def _with_classes(experiment: Experiment, num_classes: int) -> Experiment:
    return dataclasses.replace(experiment, model=experiment.model.clone(num_classes=num_classes))


def _preprocessed(experiment: Experiment, preprocessing: Preprocessing) -> Experiment:
    settings = dataclasses.replace(experiment.data, **dataclasses.asdict(preprocessing))
    return dataclasses.replace(experiment, data=settings)


def _guess(file: Path, weights: WeightFile) -> str:
    fitting = _fitting(weights)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        imagenet = any(ZOO[name].for_imagenet for name in fitting)
        advice = (
            "choose one with --model." if imagenet else "give a config file with --model, which also defines the data."
        )
        raise InputError(f"{file} fits {', '.join(fitting)}; {advice}")
    name, array = next(iter(weights.arrays.items()))
    raise InputError(
        f"{file} fits no network of the zoo ({len(weights.arrays)} arrays, the first is {name} {array.shape}); name "
        "its network with --model."
    )


def _fitting(weights: WeightFile) -> list[str]:
    """Return the networks of the zoo that the arrays fit, apart from the number of classes or missing dense layers."""
    names = []
    for name, entry in ZOO.items():
        layers = entry.model.layers()
        if weights.layout != "jaxcnn" and any(layer.role == "norm" and not layer.torch_arrays() for layer in layers):
            continue
        try:
            pairs = match(weights, entry.model, entry.shape)
        except InputError:
            continue
        wrong, dense = _wrong(pairs), _dense_layers(entry.model)
        if not wrong or _classes(wrong, dense) or _lacks_dense(wrong, pairs, dense):
            names.append(name)
    return names


def _wrong(pairs: tuple[Pair, ...]) -> list[Pair]:
    return [pair for pair in pairs if pair.fate in ("mismatched", "missing", "unexpected")]


def _classes(wrong: list[Pair], dense: list[str]) -> tuple[int, int] | None:
    """Return the numbers of classes of the file and of the network, if nothing else differs."""
    last = [pair for pair in wrong if dense and pair.layer == dense[-1] and pair.fate == "mismatched"]
    if len(last) != len(wrong) or not any(pair.path.endswith("/bias") for pair in last):
        return None
    if any(sum(a != b for a, b in zip(pair.source_shape, pair.wanted, strict=False)) != 1 for pair in last):
        return None
    return next((pair.source_shape[0], pair.shape[0]) for pair in last if pair.path.endswith("/bias"))


def _lacks_dense(wrong: list[Pair], pairs: tuple[Pair, ...], dense: list[str]) -> bool:
    """Whether the only fault is that the file has no dense layer."""
    lacking = [pair for pair in pairs if pair.layer in dense]
    return bool(lacking) and lacking == wrong and all(pair.fate == "missing" for pair in lacking)


def _dropped(pair: Pair) -> tuple[Pair, ...]:
    new = Pair("re-initialized", path=pair.path, shape=pair.shape)
    return (new,) if pair.source is None else (new, Pair("left out", pair.source, pair.source_shape))


def _dense_layers(model: nn.Module) -> list[str]:
    layers = model.layers() if isinstance(model, ConvNet) else ()
    return [layer.name for layer in layers if layer.role == "dense"]


def _initial_values(experiment: Experiment, shape: Shape, paths: list[str]) -> dict[str, jax.Array]:
    """Return the initial values of some arrays; the compiler omits the others."""
    images = jnp.zeros((1, *shape))

    def init(key: jax.Array) -> dict[str, jax.Array]:
        flat = flatten_dict(experiment.model.init(key, images, train=False), sep="/")
        return {path: flat[path] for path in paths}

    # This runs once, and XLA takes longer to optimize random number generators for a CPU than they take to run.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    with jax.threefry_partitionable(True):
        return jax.jit(init, compiler_options=options)(jax.random.key(experiment.seed, impl=IMPLEMENTATION))
