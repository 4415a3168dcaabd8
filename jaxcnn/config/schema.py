"""An experiment and its parts as frozen, typed values. Every default is defined here."""

import inspect
from dataclasses import dataclass, field
from typing import Literal

from flax import linen as nn

from jaxcnn.objectives import CrossEntropy, Objective
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt, Seed

# Marks a field that changes neither the weights nor the reported result: it is not part of the run id and may change on
# resume.
_FREE = {"identity": False}

# Marks a field that is newer than some saved runs: it is part of the run id only if it differs from its default, which
# is the behaviour of those runs.
_SINCE = {"identity": "unless default"}


class Part:
    """A frozen dataclass whose fields are checked against their annotations when it is created."""

    def __post_init__(self) -> None:
        fields.check(self)


@dataclass(frozen=True, kw_only=True)
class Fake(Part):
    """Random images with a learnable class signal, for smoke tests and speed measurements (`source="fake"`)."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 32, 1)
    """Height and width in pixels, and number of channels."""
    num_classes: PositiveInt = 10
    """Number of classes."""
    train: PositiveInt = 512
    """Training images."""
    test: PositiveInt = 256
    """Test images."""


@dataclass(frozen=True, kw_only=True)
class Data(Part):
    """The source of the images, and their preprocessing."""

    source: Literal["digits", "arrays", "fake", "tfds"] = "digits"
    """digits: scikit-learn's bundled scans; arrays: an .npz file or arrays in memory; fake: random images; tfds: any
    prepared TFDS image-classification data set."""
    name: str = ""
    """tfds: name of the data set, optionally with a version (mnist, cifar10:3.0.2); arrays: path of the .npz file."""
    data_dir: str | None = field(default=None, metadata=_FREE)
    """tfds: folder of prepared data sets; None: $TFDS_DATA_DIR if it is set, otherwise ~/tensorflow_datasets."""
    train_split: str = "train"
    """tfds: split to train on."""
    test_split: str = "test"
    """tfds: split to test on (imagenet2012 has its labels in 'validation')."""
    subgroup: str = field(default="", metadata=_SINCE)
    """Part of the training and test images to use: thin or thick strokes, classes=0-4, tail=10 for a long tail, or
    several joined by @; see `jaxcnn.data.subgroups`. Empty: all."""
    target: str = field(default="", metadata=_SINCE)
    """Images of another population: tfds:NAME, digits, FILE.npy:SEVERITY or corruption:NAME:SEVERITY of the run's own
    images; then @SUBGROUP, and @SIZE to resize them and pad or crop them to fit, as in digits@20. The network is scored
    on them at the end; objectives such as `shift.DANN` also train on them, without labels. Empty: none."""
    validation: Fraction = 0.0
    """Fraction of the training images set aside for validation, drawn with `split_seed`."""
    train_count: PositiveInt | None = field(default=None, metadata=_SINCE)
    """Number of training images to use, in equal numbers per class, drawn with `split_seed` from those that validation
    leaves; fewer images are a subset of more. None: all."""
    split_seed: NonNegativeInt | None = field(default=None, metadata=_SINCE)
    """Seed of the validation split and of `train_count`, so that runs of several seeds can have the same images; None:
    the experiment's seed."""
    batch_size: PositiveInt = 128
    """Images per training step, over all devices (AlexNet section 5: 128)."""
    eval_batch_size: PositiveInt = field(default=500, metadata=_FREE)
    """Images per evaluation step, over all devices; it never changes a result."""
    image_size: PositiveInt | None = None
    """Resize the short side to this many pixels and crop the centre square; None: leave images unchanged."""
    pad: NonNegativeInt = 0
    """Rows and columns of zeros on each side of an image (LeNet-5 section II.B: 2, 28x28 digits in 32x32 fields)."""
    decode: Literal["auto", "once", "always"] = field(default="auto", metadata=_FREE)
    """tfds: when images are decoded. once: into a cache on disk, which is fastest to read; always: whenever an image is
    read, for data sets too large to cache; auto: once, unless a split would take more than 32 GiB. It never changes a
    pixel."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order of the network's input channels; every source provides rgb, weights from Caffe and Keras require bgr."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted from pixels scaled to [0, 1]; one value, or one per channel in the order of `channel_order`."""
    std: tuple[Positive, ...] = (1.0,)
    """Divisor after the mean is subtracted, in the order of the mean; 1/255 gives unscaled pixels, as in AlexNet."""
    fake: Fake = Fake()
    """Size of the fake data set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "tfds" and not self.name:
            raise InputError("Data.name is empty; source 'tfds' needs one, for example mnist.")


@dataclass(frozen=True, kw_only=True)
class Augment(Part):
    """Random changes to training images, drawn on the device for every image and step, and applied in this order."""

    crop: PositiveInt | None = None
    """Side in pixels of a random square crop, the network's input; evaluation uses the central crop (AlexNet section
    4.1: 224 of 256); None: the whole image."""
    crop_pad: NonNegativeInt = 0
    """Rows and columns of zeros on each side before the crop is drawn (usual on CIFAR: 4, with crop 32)."""
    scale_jitter: tuple[PositiveInt, PositiveInt] | None = None
    """Bounds of the random short side of the image before the crop (VGG section 3.1: 256, 512)."""
    shift: NonNegative = 0.0
    """Largest translation along each axis, in pixels."""
    rotation: NonNegative = 0.0
    """Largest rotation in either direction, in degrees."""
    scale: Fraction = 0.0
    """Largest relative change of size: factors are drawn from [1 - scale, 1 + scale]."""
    flip: bool = False
    """Mirror half of the images left to right."""
    pca_color: NonNegative = 0.0
    """Standard deviation of the random multiples of the principal components of the training colours, each scaled by
    its eigenvalue, that are added to an image (AlexNet section 4.1: 0.1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("crop_pad", "scale_jitter"):
            if getattr(self, name) and self.crop is None:
                raise InputError(f"Augment.{name} is {getattr(self, name)}; it requires Augment.crop to be set.")
        if self.scale_jitter and not self.crop <= self.scale_jitter[0] <= self.scale_jitter[1]:
            raise InputError(f"Augment.scale_jitter is {self.scale_jitter}; crop {self.crop} <= low <= high must hold.")
        if self.scale_jitter and self.crop_pad:
            raise InputError(f"Augment.crop_pad is {self.crop_pad}; with scale_jitter it must be 0.")


@dataclass(frozen=True, kw_only=True)
class Schedule(Part):
    """The learning rate over time, as a factor on `learning_rate`."""

    name: Literal["constant", "step", "cosine", "plateau"] = "constant"
    """step: multiply by `factor` at each of `drops`; cosine: decay to `final` at the last step; plateau: multiply by
    `factor` when the training loss of an epoch has not improved for `patience` epochs (AlexNet section 5 divides by
    10)."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warmup from 0 before the schedule itself begins."""
    drops: tuple[Positive, ...] = ()
    """step: epochs, counted from the start of training, at which the rate drops."""
    factor: Fraction = 0.1
    """step, plateau: multiplier of the rate at each drop."""
    patience: PositiveInt = 5
    """plateau: consecutive epochs without improvement after which the rate drops."""
    final: NonNegative = 0.0
    """cosine: factor at the last step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == "step" and not self.drops:
            raise InputError("Schedule.drops is empty; name 'step' needs epochs, for example (30, 60).")
        if list(self.drops) != sorted(set(self.drops)):
            raise InputError(f"Schedule.drops is {self.drops}; its values must increase.")
        if not self.factor:
            raise InputError("Schedule.factor is 0.0; it must be above 0, because a rate of 0 ends training.")


@dataclass(frozen=True, kw_only=True)
class Optimizer(Part):
    """The update rule: direction, learning rate, weight decay."""

    algorithm: Literal["sgd", "adam"] = "sgd"
    """sgd with momentum, or Adam; Adam with weight_decay_form 'decoupled' is AdamW."""
    learning_rate: Positive = 0.01
    """Peak learning rate (AlexNet section 5: 0.01)."""
    momentum: Fraction = 0.9
    """sgd: fraction of the previous update that is kept (AlexNet section 5: 0.9)."""
    nesterov: bool = False
    """sgd: use Nesterov momentum."""
    b1: Fraction = 0.9
    """adam: decay of the first moment."""
    b2: Fraction = 0.999
    """adam: decay of the second moment."""
    eps: Positive = 1e-8
    """adam: added to the denominator."""
    weight_decay: NonNegative = 5e-4
    """Coefficient of weight decay (AlexNet section 5, VGG section 3.1: 5e-4)."""
    weight_decay_form: Literal["l2", "krizhevsky", "decoupled"] = "l2"
    """l2: added to the gradient, as in PyTorch's SGD and Adam; krizhevsky: the same with the learning rate inside the
    momentum buffer (AlexNet section 5); decoupled: weights shrink by learning_rate * weight_decay (AdamW)."""
    weight_decay_scope: Literal["all", "kernels", "dense", "conv", "none"] = "kernels"
    """Parameters that decay: all; all kernels; kernels of dense or of convolutional layers; none."""
    clip_norm: Positive | None = None
    """Scale gradients down to this global norm; None: no clipping."""
    schedule: Schedule = Schedule()
    """Learning rate over time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algorithm == "adam" and self.weight_decay_form == "krizhevsky":
            raise InputError("Optimizer.weight_decay_form 'krizhevsky' is for sgd; adam takes 'l2' or 'decoupled'.")


Instrument = Literal["gradients", "ics", "drift", "landscape", "hessian", "lags"]


@dataclass(frozen=True, kw_only=True)
class Probes(Part):
    """Readings of the network during training (`jaxcnn.probes`), in probes.npz and TensorBoard. A step with readings is
    another compiled program, so that later steps may differ by rounding errors from those of a run without."""

    every: PositiveInt | None = field(default=None, metadata=_FREE)
    """Steps from one reading to the next; the first is before the first update. None: no readings."""
    instruments: tuple[Instrument, ...] = field(default=("gradients",), metadata=_FREE)
    """What is read. gradients: activations, gradients and weights of the layers; ics: internal covariate shift as
    Santurkar et al. (2018) define it; drift: of the inputs of the layers, as Ioffe & Szegedy (2015) mean it; landscape:
    the loss along the gradient; hessian: the eigenvalue of largest magnitude; lags: gradients of recurrent states."""
    layers: tuple[str, ...] = field(default=(), metadata=_FREE)
    """gradients: names of layers, or patterns such as conv*; none: layers with parameters, and activations."""
    activations: tuple[str, ...] = field(default=(), metadata=_FREE)
    """gradients: layers of networks of one's own and the functions applied to their outputs, as in dense1=tanh, which
    tells where units are saturated or inactive. Activations that are layers of `jaxcnn.layers` are known."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.instruments:
            raise InputError("Probes.instruments is empty; name at least one, or set every to None.")
        for each in self.activations:
            if not all(each.partition("=")):
                raise InputError(f"Probes.activations has {each!r}; write LAYER=FUNCTION, for example dense1=tanh.")


@dataclass(frozen=True, kw_only=True)
class Experiment(Part):
    """Everything that determines a run. Equal experiments give equal results."""

    model: nn.Module
    """The network: any linen module with `__call__(x, *, train)`."""
    data: Data = Data()
    """The source of the images."""
    augment: Augment = Augment()
    """Random changes to training images."""
    optimizer: Optimizer = Optimizer()
    """The update rule."""
    objective: Objective = CrossEntropy()
    """What training minimizes and evaluation reports; `MaximumAPosteriori()` and `MeanSquaredError()` are the losses of
    LeNet-5 (1998, section II.C, equations 9 and 8), for logits that are negative squared distances."""
    seed: Seed = 0
    """Seed of the initial weights, the order of the data, augmentation, dropout and, unless `data.split_seed` is set,
    the validation split."""
    epochs: PositiveInt = 20
    """Passes over the training images."""
    eval_every: PositiveInt = field(default=1, metadata=_FREE)
    """Epochs between evaluations (on the validation split if there is one, otherwise on the test split)."""
    checkpoint_every: PositiveInt = field(default=1, metadata=_FREE)
    """Epochs between checkpoints; the last is always saved."""
    log_every: PositiveInt = field(default=20, metadata=_FREE)
    """Steps between rows of training metrics, each of which is the mean since the previous row. If fewer steps remain
    for the last row, it also includes the steps of the previous row."""
    probes: Probes = field(default=Probes(), metadata=_FREE)
    """Readings of the network during training."""
    compilation_cache: bool = field(default=False, metadata=_FREE)
    """Save compiled programs in the cache folder ($JAXCNN_CACHE_DIR, otherwise the user's) and load them from there, so
    that later launches start sooner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parameters = inspect.signature(self.model).parameters.values() if callable(self.model) else ()
        if not any(p.name == "train" or p.kind == p.VAR_KEYWORD for p in parameters):
            raise InputError(
                f"Experiment.model is {type(self.model).__name__}, whose __call__ has no argument 'train'; define "
                "`__call__(self, x, *, train)`, where train is False in evaluation."
            )
