"""Test protocols: which views of an image a network sees, and how its scores are combined into one prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt

ProtocolName = Literal["center", "ten_crop", "multi_crop", "dense", "multi_scale"]
Size = tuple[PositiveInt, PositiveInt]

_GRID = 5


@dataclass(frozen=True)
class Protocol:
    """A test protocol; `make_protocol` fills in the defaults of the papers.

    At every scale the image is resized, and the network sees windows of it or, densely, the whole image
    (`fully_convolutional.densify`). The class probabilities of all views are averaged, with equal weight per scale. The
    scores of a dense view are averaged over positions before the softmax (VGG section 3.2).

    Attributes:
        name: center, the central window (AlexNet section 6, a footnote); ten_crop, four corners and the
            centre (AlexNet section 4.1); multi_crop, a grid of 5x5 windows (VGG section 3.2); dense and multi_scale,
            the whole image (VGG section 3.2; table 3 and table 4).
        crop: height and width of a window, as of the images that the network was trained on.
        scales: lengths in pixels to which the image's short side is resized; the aspect ratio is kept.
        flip: whether every view is also shown mirrored.
    """

    name: ProtocolName
    crop: Size
    scales: tuple[PositiveInt, ...]
    flip: bool = False

    def __post_init__(self) -> None:
        fields.check(self)

    @property
    def whole(self) -> bool:
        """Whether views are whole images, for a densified network."""
        return self.name in ("dense", "multi_scale")


class View(NamedTuple):
    """One view of an image: resized to `size` (height, width), a window of size `crop` at (`top`, `left`), mirrored or
    not; `weight` is its weight in the mean."""

    size: tuple[int, int]
    crop: tuple[int, int]
    top: int
    left: int
    mirrored: bool
    weight: float


def check_name(name: str) -> None:
    """Check that a protocol of that name exists.

    Raises:
        InputError: there is none; the message lists the names.
    """
    known = get_args(ProtocolName)
    if name not in known:
        close = fields.did_you_mean(name, known)
        raise InputError(f"protocol {name!r} is unknown; it must be one of {', '.join(known)}.{close}")


def mirrors(name: str) -> bool:
    """Return whether the protocol of that name includes mirrored views in the papers."""
    return name in ("ten_crop", "multi_crop")


def make_protocol(
    name: str,
    size: tuple[int, int],
    *,
    crop: int | None = None,
    scales: tuple[int, ...] | None = None,
    flip: bool | None = None,
    jitter: tuple[int, int] | None = None,
    mirroring: bool = True,
) -> Protocol:
    """Create a protocol for images of one size.

    All scales are made from the stored images, which larger scales enlarge. If the data set is stored as central
    squares, the views differ from those of the papers, which used whole rectangles.

    Args:
        name: center, ten_crop, multi_crop, dense or multi_scale.
        size: height and width of the stored images.
        crop: side of the windows; None: the whole stored image.
        scales: short sides of the images in pixels. None, without jitter: S, the short side of the stored images, for
            center, ten_crop and dense; S-32, S, S+32 for multi_crop and multi_scale (VGG section 4.2), in steps of S/8
            if S is below 256, and all increased so that the first is at least the crop. None, with jitter in
            [low, high]: the midpoint for dense; low, midpoint and high for multi_crop and multi_scale.
        flip: whether mirrored views are added. None: for ten_crop and multi_crop if the training mirrored images.
        jitter: `Augment.scale_jitter` of the training.
        mirroring: `Augment.flip` of the training. Images that must not be mirrored in training, such as digits, must
            not be mirrored in testing.

    Raises:
        InputError: the name is unknown; the crop is larger than the image at some scale (dense and multi_scale, which
            use whole images, excepted); or all windows would coincide.
    """
    check_name(name)
    window = size if crop is None else (crop, crop)
    default = _default_scales(name, min(size), min(window), jitter)
    protocol = Protocol(name, window, scales or default, mirroring and mirrors(name) if flip is None else flip)
    sizes = [_resized(size, scale) for scale in protocol.scales]
    if protocol.whole:
        return protocol
    for height, width in sizes:
        if height < window[0] or width < window[1]:
            raise InputError(
                f"crop is {window[0]}x{window[1]}; images at {height}x{width} are smaller. Use larger --scales or a "
                "smaller --crop."
            )
    if name != "center" and set(sizes) == {window}:
        raise InputError(
            f"{name} has only one view if crop and images are both {window[0]}x{window[1]}; use larger --scales, "
            f"for example {min(size) + max(1, min(size) // 8)}, or a smaller --crop."
        )
    return protocol


def views(protocol: Protocol, size: tuple[int, int]) -> tuple[View, ...]:
    """Return all views of an image of `size` (height, width); their weights sum to 1.

    At a scale equal to the crop, all windows coincide and are replaced by one.
    """
    found = []
    for scale in protocol.scales:
        height, width = resized = _resized(size, scale)
        window = resized if protocol.whole else protocol.crop
        corners = _corners(protocol.name, height - window[0], width - window[1])
        mirrored = (False, True) if protocol.flip else (False,)
        weight = 1 / (len(corners) * len(mirrored) * len(protocol.scales))
        found += [View(resized, window, *corner, m, weight) for corner in corners for m in mirrored]
    return tuple(found)


def predict(protocol: Protocol, score: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Return the prediction for a batch: logarithms of the mean class probabilities over all views.

    Views are created and scored one after another, so memory use does not grow with their number; call it outside
    `jax.jit`, with a `score` that is jitted.

    Args:
        protocol: the protocol that defines the views.
        score: function from images [n, height, width, channels] to logits [n, classes] or maps of logits
            [n, h, w, classes].
        images: [n, height, width, channels], uint8 or float, as stored.

    Returns:
        float32 [n, classes].
    """
    total, resized, before = None, images, None
    for view in views(protocol, images.shape[1:3]):
        if view.size != before:
            resized, before = resize(images, view.size), view.size
        logits = score(_window(resized, view.top, view.left, view.mirrored, crop=view.crop))
        total = _add(total, logits, np.log(view.weight, dtype=np.float32))
    return total


@partial(jax.jit, static_argnames="size")
def resize(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize images [n, height, width, channels] to another (height, width): bilinear, antialiased when shrinking.

    Returns:
        The images themselves if they have that size, else float32 with uint8 scaled to 0..1.
    """
    if images.shape[1:3] == size:
        return images
    images = images / np.float32(255) if images.dtype == jnp.uint8 else images.astype(jnp.float32)
    return jax.image.resize(images, (images.shape[0], *size, images.shape[3]), "linear", antialias=True)


@partial(jax.jit, static_argnames="crop")
def _window(images: jax.Array, top: int, left: int, mirrored: bool, *, crop: tuple[int, int]) -> jax.Array:
    for axis, (start, length) in enumerate(zip((top, left), crop, strict=True), 1):
        images = lax.dynamic_slice_in_dim(images, start, length, axis)
    return jnp.where(mirrored, images[:, :, ::-1], images)


@jax.jit
def _add(total: jax.Array | None, logits: jax.Array, log_weight: jax.Array) -> jax.Array:
    """Add the weighted probabilities of a view to the total, in logarithms; the logits of a map are averaged first."""
    logits = jnp.mean(logits.astype(jnp.float32), range(1, logits.ndim - 1))
    share = jax.nn.log_softmax(logits) + log_weight
    return share if total is None else jnp.logaddexp(total, share)


def _default_scales(name: str, side: int, crop: int, jitter: tuple[int, int] | None) -> tuple[int, ...]:
    if name in ("center", "ten_crop"):
        return (side,)
    if jitter:
        low, high = jitter
        return ((low + high) // 2,) if name == "dense" else (low, (low + high) // 2, high)
    if name == "dense":
        return (side,)
    step = 32 if side >= 256 else max(1, side // 8)
    first = max(side - step, crop)
    return (first, first + step, first + 2 * step)


def _resized(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Scale a size to a short side of `short`; the long side is rounded down as in torchvision."""
    return (size[0] * short // min(size), size[1] * short // min(size))


def _corners(name: str, down: int, right: int) -> list[tuple[int, int]]:
    """Return the top left corners of windows that can move `down` and `right` by so many pixels."""
    if name == "multi_crop" and (down or right):
        rows, columns = (np.linspace(0, room, _GRID).round().astype(int).tolist() for room in (down, right))
        return [(top, left) for top in rows for left in columns]
    centre = (round(down / 2), round(right / 2))
    if name == "ten_crop" and (down or right):
        return [(0, 0), (0, right), (down, 0), (down, right), centre]
    return [centre]
