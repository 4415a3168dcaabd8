"""Formulations of a convolution, which agree up to rounding, and the choice of the fastest one on a CPU.

Every formulation takes images [n, height, width, channels] and a kernel [rows, columns, channels / groups, features],
is linear in each, and is transposed by JAX: a gradient uses the formulation whose transpose is the fastest, which may
differ from that of the forward pass. For layers with many channels `winograd` is faster still and takes precedence.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import linear_call

Operation = Literal["output", "input_gradient", "kernel_gradient"]
Convolution = Callable[[jax.Array, jax.Array, "Window"], jax.Array]


@dataclass(frozen=True)
class Window:
    """The geometry of a sliding window.

    Attributes:
        image: height and width of the input.
        size: rows and columns of the window.
        stride: step along both axes.
        padding: zeros on each side.
        groups: number of independent groups of channels and features.
    """

    image: tuple[int, int]
    size: tuple[int, int]
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the input with padding."""
        return self.image[0] + 2 * self.padding, self.image[1] + 2 * self.padding

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the output."""
        (height, width), (rows, columns) = self.padded, self.size
        return (height - rows) // self.stride + 1, (width - columns) // self.stride + 1


def fastest(
    x: jax.Array, kernel: jax.Array, window: Window, *, operation: Operation, again: Convolution, members: bool = False
) -> jax.Array:
    """Convolve to [n, height, width, features] in the formulation that is fastest on a CPU.

    Times below are ms per forward pass or gradient on two AVX-512 cores in float32, XLA's own formulation -> the chosen
    one.

    Args:
        x: images.
        kernel: one window per feature.
        window: geometry of the window.
        operation: the operation to compute: the output, or one of the gradients by transposition.
        again: function for the convolutions that this one consists of, for each of which the choice is made again.
        members: whether this is the body of a `jax.vmap` over several kernels.
    """
    small = min(window.image) < max(window.size)
    if window.groups > 1:  # XLA has no fast path for groups.
        parts = (jnp.split(array, window.groups, axis=-1) for array in (x, kernel))
        one = dataclasses.replace(window, groups=1)
        return jnp.concatenate([again(*pair, one) for pair in zip(*parts, strict=True)], axis=-1)
    if window.stride > 1 and (operation != "output" or small or members):
        # AlexNet's conv1, batch 32: kernel gradient 477 -> 186, but output 97 -> 251. For some small maps XLA's own
        # input gradient aborts the process, by a failed check in its algebraic simplifier.
        return again(*to_depth(x, kernel, window))
    if window.stride == 1 and window.padded == window.size:
        return covering(x, kernel, window)
    if window.stride == 1 and x.shape[3] <= (_FEW_OF_MEMBERS if members else _FEW[operation]):
        return banded(x, kernel, window)
    if small:
        return patches(x, kernel, window)  # 512 -> 512 at 2x2, batch 64: 1037 -> 8, input gradient 1074 -> 13.
    if members:  # XLA turns them into groups. Four of 16 -> 16 at 32x32, batch 16: 49 -> 6, both gradients 730 -> 42.
        return strips(x, kernel, window)
    if operation == "kernel_gradient" and x.shape[3] >= 16 and (x.shape[0] <= 2 or kernel.shape[3] <= 16):
        # 128 -> 128 at 56x56, one image: 15 -> 7; 32 -> 16 at 32x32, batch 64: 11 -> 8; but 16 -> 32: 6.5 -> 7.0.
        return strips(x, kernel, window)
    return (
        xla(x, kernel, window) if operation == "output" or window.stride > 1 else in_order(x, kernel, window, operation)
    )


_FEW: dict[Operation, int] = {"output": 2, "input_gradient": 6, "kernel_gradient": 0}
"""Largest number of channels for which `banded` is faster than XLA's own formulation. Outputs: 1 -> 6, 5 x 5, at 32x32,
batch 256: 8.7 -> 1.4; 1 -> 64, 3 x 3, at 28x28, batch 64: 2.0 -> 0.8; but 3 -> 64 at 32x32: 3.2 -> 3.5. Input gradients
of these three: 23 -> 2, 4.0 -> 1.3, 11 -> 5; 6 -> 16, 5 x 5, at 14x14, batch 256: 7.6 -> 1.8. Kernel gradients: 3.1 ->
3.7, 1.9 -> 8.5, 4 -> 22."""

_FEW_OF_MEMBERS = 6
"""The same for members. Six of 3 -> 32 at 32x32, batch 32, `strips` -> `banded`: 16 -> 5, gradients 44 -> 8, 38 ->
21."""


_ORDER = ("NHWC", "HWIO", "NHWC")


def xla(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """`lax.conv_general_dilated`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (window.stride,) * 2,
        [(window.padding,) * 2] * 2,
        dimension_numbers=_ORDER,
        feature_group_count=window.groups,
    )


def in_order(x: jax.Array, kernel: jax.Array, window: Window, operation: Operation) -> jax.Array:
    """`xla` for a stride of 1 and one group, whose transpose has its axes in the order of `xla`.

    XLA's CPU backend is slow for other orders. It changes them by itself, but not within loops: the gradient of
    LeNet-5, batch 256, in a `lax.map`: 186 -> 21.
    """

    def image(kernel: jax.Array, y: jax.Array) -> jax.Array:
        edges = [(side - 1 - window.padding,) * 2 for side in window.size]
        turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        return lax.conv_general_dilated(y, turned, (1, 1), edges, dimension_numbers=_ORDER)

    def weights(x: jax.Array, y: jax.Array) -> jax.Array:
        edges = [(window.padding,) * 2] * 2
        x, y = x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)
        return lax.conv_general_dilated(x, y, (1, 1), edges, dimension_numbers=_ORDER).transpose(1, 2, 0, 3)

    if operation == "input_gradient":
        return linear_call(lambda kernel, x: xla(x, kernel, window), image, kernel, x)
    return linear_call(lambda x, kernel: xla(x, kernel, window), weights, x, kernel)


def to_depth(x: jax.Array, kernel: jax.Array, window: Window) -> tuple[jax.Array, jax.Array, Window]:
    """Rewrite a convolution with squares of stride x stride pixels as channels and a window that moves by one."""
    step, channels = window.stride, x.shape[3]
    size = tuple(-(-side // step) for side in window.size)
    image = tuple(out + side - 1 for out, side in zip(window.output, size, strict=True))

    def squares(array: jax.Array, sides: tuple[int, int], first_axis: int, before: int) -> jax.Array:
        """Pad or crop both axes from `first_axis` on to `sides` squares, and move the axes of their pixels behind."""
        edges = [(0, 0, 0)] * array.ndim
        for axis, side in enumerate(sides, first_axis):
            edges[axis] = (before, side * step - before - array.shape[axis], 0)
        array = lax.pad(array, jnp.zeros((), array.dtype), edges)
        shape = array.shape
        array = array.reshape(*shape[:first_axis], sides[0], step, sides[1], step, *shape[first_axis + 2 :])
        return jnp.moveaxis(array, first_axis + 1, first_axis + 2)

    x = squares(x, image, 1, window.padding).reshape(x.shape[0], *image, step * step * channels)
    kernel = squares(kernel, size, 0, 0).reshape(*size, step * step * channels, kernel.shape[3])
    return x, kernel, Window(image, size)


def covering(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolve with a window as large as its input, which has one position, as a product."""
    x = _padded(x, window.padding)
    return (x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[-1]))[:, None, None, :]


# Fewest columns in a block of `banded`. With 4 of the 28 in LeNet-5's C1: 1.4 ms, 7: 1.7, 14: 1.8, all: 3.1.
_BAND = 4


def banded(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Multiply the input under a block of output columns, rows side by side, by a matrix with one kernel per column."""
    n, _, _, channels = x.shape
    rows, columns, _, features = kernel.shape
    height, width = window.output
    blocks = max(1, width // _BAND)
    side = -(-width // blocks)  # Columns of the output in a block.
    under = side + columns - 1  # Columns of the input below them.
    right = blocks * side + columns - 1 - window.padding - window.image[1]
    edges = ((0, 0, 0), (window.padding, window.padding, 0), (window.padding, right, 0), (0, 0, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    parts = [x[:, :, i * side : i * side + under].reshape(n, -1, 1, under * channels) for i in range(blocks)]
    x = jnp.concatenate(parts, axis=2)
    x = jnp.concatenate([x[:, i : i + height] for i in range(rows)], axis=-1)
    # Kernel rows are padded to under + 1, laid end to end and read in rows of under, so each row is the previous one
    # shifted by one pixel.
    padded = jnp.pad(kernel.transpose(0, 2, 3, 1), ((0, 0), (0, 0), (0, 0), (0, side)))
    band = jnp.tile(padded, (1, 1, 1, side))[..., : side * under]
    band = band.reshape(rows, channels, features, side, under).transpose(0, 4, 1, 3, 2)
    y = x @ band.reshape(rows * under * channels, side * features)
    return y.reshape(n, height, blocks * side, features)[:, :, :width]


def patches(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Multiply the pixels under the window at every position, side by side, by the kernel."""
    x = _padded(x, window.padding)
    (height, width), (rows, columns) = window.output, window.size
    shifted = [x[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


# Fewest bytes of a strip's input: together with its intermediate results, it stays in the second-level cache of a core.
# Larger kernels have larger strips, because the transpose adds to the whole gradient in each strip.
STRIP = 2**20


def strips(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Convolve strip by strip of rows: multiply the pixels of each row under the window by all kernel columns at once,
    then shift the products by one column each and add them.

    Its purpose is the transpose, in which the kernel gradient consists of products of well-shaped matrices that are
    created and used within a cache. Sums are at least in float32.
    """
    n, height, width, channels = x.shape
    rows, columns, _, features = kernel.shape
    out_height, out_width = window.output
    row_bytes, sums = width * channels * 4, jnp.promote_types(x.dtype, jnp.float32)
    strip_bytes = max(STRIP, kernel.size * 4)
    count = -(-out_height // max(1, strip_bytes // row_bytes))  # Strips per image.
    strip = -(-out_height // count)
    images = math.gcd(n, max(1, strip_bytes // (out_height * row_bytes))) if count == 1 else 1
    below = count * strip + rows - 1 - height - window.padding
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (window.padding, below, 0), (0, 0, 0), (0, 0, 0)))

    @jax.checkpoint  # Otherwise all strips of the forward pass would be kept for the transpose.
    def products(kernel: jax.Array, index: jax.Array) -> jax.Array:
        start = (index // count * images, index % count * strip, 0, 0)
        part = lax.dynamic_slice(x, start, (images, strip + rows - 1, width, channels)).astype(sums)
        lines = (part[:, i : i + strip].reshape(-1, channels) for i in range(rows))
        product = sum(line @ kernel[i] for i, line in enumerate(lines)).reshape(images, strip, width, -1)
        moved = [(0, 0, 0)] * 4
        total = jnp.zeros((), sums)
        for j, column in enumerate(jnp.split(product, columns, axis=-1)):
            moved[2] = (window.padding - j, out_width - width - window.padding + j, 0)
            total = total + lax.pad(column, jnp.zeros((), sums), moved)
        return total

    matrices = kernel.astype(sums).transpose(0, 2, 1, 3).reshape(rows, channels, columns * features)
    _, y = lax.scan(lambda _, i: (None, products(matrices, i)), None, jnp.arange(n // images * count))
    return y.reshape(n, count * strip, out_width, features)[:, :out_height].astype(x.dtype)


def _padded(x: jax.Array, padding: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
