"""An experiment and its parts as frozen, typed values. Every default lives here."""

import inspect
from dataclasses import dataclass, field
from typing import Literal

from flax import linen as nn

from jaxcnn.objectives import CrossEntropy, Objective
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt, Seed

# Marks a field that changes neither the weights nor the reported result: not part of the run id, free on resume.
_FREE = {"identity": False}

# Marks a field that is younger than some saved runs: part of the run id only where it differs from its default, which
# is what those runs did.
_SINCE = {"identity": "unless default"}


class Part:
    """A frozen dataclass whose fields are checked against their annotations when it is made."""

    def __post_init__(self) -> None:
        fields.check(self)


@dataclass(frozen=True, kw_only=True)
class Fake(Part):
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
class Data(Part):
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
    """Share of the training images set aside for validation, drawn by `split_seed`."""
    split_seed: NonNegativeInt | None = field(default=None, metadata=_SINCE)
    """Draws the validation part, so that runs of several seeds can be validated on the same images; None: the
    experiment's seed does."""
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
class Augment(Part):
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
class Schedule(Part):
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
class Optimizer(Part):
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
class Experiment(Part):
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
    seed: Seed = 0
    """Seeds the weights, the order of the data, augmentation, dropout and, unless `data.split_seed` is set, the
    validation split."""
    epochs: PositiveInt = 20
    """Passes over the training images."""
    eval_every: PositiveInt = field(default=1, metadata=_FREE)
    """Epochs between evaluations (on the validation part if there is one, else on the test part)."""
    checkpoint_every: PositiveInt = field(default=1, metadata=_FREE)
    """Epochs between checkpoints; the last is always saved."""
    log_every: PositiveInt = field(default=20, metadata=_FREE)
    """Steps between rows of training metrics, each the mean since the row before. The last row, where fewer steps are
    left for it, includes the steps of the row before."""
    compilation_cache: bool = field(default=False, metadata=_FREE)
    """Keep compiled programs in the cache folder ($JAXCNN_CACHE_DIR, else the user's) and look for them there, so that
    later launches start sooner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parameters = inspect.signature(self.model).parameters.values() if callable(self.model) else ()
        if not any(p.name == "train" or p.kind == p.VAR_KEYWORD for p in parameters):
            raise InputError(
                f"Experiment.model is {type(self.model).__name__}, whose __call__ has no argument 'train'; define "
                "`__call__(self, x, *, train)`, where train is False in evaluation."
            )
