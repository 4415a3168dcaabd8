"""Corrupting a batch of images."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.corruptions.catalogue import CORRUPTIONS, HOST
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean

# Images that fog is computed for at the same time.
_FOGS = 16


def corrupt(
    name: str,
    images: jax.Array,
    severity: jax.Array | int = 5,
    *,
    key: jax.Array,
    index: jax.Array | None = None,
    truncate: bool = False,
) -> jax.Array:
    """Return corrupted images; a pure function that can be jitted and vmapped, but for those in `HOST`.

    One compiled program serves all severities. Random numbers come from the key folded with the index of an image, so
    the result for an image does not depend on the others in its batch. Corrupt before normalization.

    Args:
        name: a name in `CORRUPTIONS`, whose docstrings say what they do and give their constants: MNIST-C's for images
            with one channel, CIFAR-10-C's for images with three.
        images: float [n, height, width, channels] in 0..1, of any size, with 1 or 3 channels.
        severity: from 1 to 5, an integer or an integer array [n]; traced values outside are clipped.
        key: random key of the data set, of any generator. Deterministic corruptions ignore it.
        index: int [n], rows of the images in their data set; None: 0..n-1, right for the first batch only.
        truncate: truncate to whole 255ths, as in the published files, which are uint8. False keeps float accuracy.

    Returns:
        float32 of the same shape, in 0..1.

    Raises:
        InputError: the name is unknown; images have another shape or dtype, are NaN or outside 0..1; the severity is
            not an integer from 1 to 5 or has another length; or a corruption of the host is traced. Values are not
            checked where they are traced.
    """
    _check_name(name)
    _check_images(images)
    n = images.shape[0]
    severity = _checked_severity(severity, n)
    if index is None:
        index = np.arange(n)
    elif jnp.shape(index) != (n,):
        raise InputError(f"index has shape {jnp.shape(index)}; it must be [{n}], a row for each image.")
    if name in HOST:
        return _on_host(name, images, severity, truncate)
    return _on_device(name, images, severity, _threefry(key), index, truncate)


@functools.partial(jax.jit, static_argnames=("name", "truncate"))
def _on_device(
    name: str, images: jax.Array, severity: jax.Array, key: jax.Array, index: jax.Array, truncate: bool
) -> jax.Array:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    images, severity = images.astype(jnp.float32), jnp.clip(severity, 1, 5)
    if severity.ndim:
        arguments, corrupted = (images, keys, severity), lambda each: CORRUPTIONS[name](each[0], each[2], each[1])
    else:
        # Not batched, so that filters are computed once.
        arguments, corrupted = (images, keys), lambda each: CORRUPTIONS[name](each[0], severity, each[1])
    if name == "fog":
        # The landscapes of all images, of 256x256 pixels each, would need much memory, and be slower on a CPU.
        return _finished(jax.lax.map(corrupted, arguments, batch_size=_FOGS), truncate)
    return _finished(jax.vmap(corrupted)(arguments), truncate)


def _on_host(name: str, images: jax.Array, severity: jax.Array, truncate: bool) -> jax.Array:
    if isinstance(images, jax.core.Tracer) or isinstance(severity, jax.core.Tracer):
        raise InputError(
            f"corruption {name!r} runs on the host, so it cannot be part of a jitted or vmapped function; call "
            "shift.corrupt outside, and pass its result in."
        )
    images = np.asarray(images, np.float32)
    result = CORRUPTIONS[name](images, np.broadcast_to(np.asarray(severity), len(images)))
    return _finished(jnp.asarray(result, jnp.float32), truncate)


def _finished(images: jax.Array, truncate: bool) -> jax.Array:
    images = jnp.clip(images, 0, 1)
    return jnp.floor(images * 255) / 255 if truncate else images


def _threefry(key: jax.Array) -> jax.Array:
    """Return the key, or a threefry key drawn from it: other generators have no Poisson numbers, and with them the
    random numbers of an image would depend on its batch."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if str(jax.random.key_impl(key)) == "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,)), impl="threefry2x32")


def _check_name(name: str) -> None:
    if name == "frost":
        raise InputError(
            "corruption 'frost' is left out, because it overlays photographs of ice, which do not come with this "
            "package. Read it from CIFAR-10-C's files, or choose 'snow' or 'fog'."
        )
    if name not in CORRUPTIONS:
        known = ", ".join(CORRUPTIONS)
        raise InputError(f"corruption {name!r} is unknown; there are {known}.{did_you_mean(name, CORRUPTIONS)}")


def _check_images(images: Any) -> None:
    shape = jnp.shape(images)
    if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape[1:]:
        raise InputError(
            f"images have shape {shape}; corruptions need [n, height, width, channels] with 1 or 3 channels."
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        hint = " Divide uint8 images by 255." if images.dtype == np.uint8 else ""
        raise InputError(f"images are {images.dtype}; corruptions need float images in 0..1.{hint}")
    if isinstance(images, jax.core.Tracer) or not images.size:
        return
    low, high = (float(f(images)) for f in ((np.min, np.max) if isinstance(images, np.ndarray) else (jnp.min, jnp.max)))
    if np.isnan(low):
        raise InputError("images have NaN pixels; corruptions need finite values in 0..1.")
    if low < 0 or high > 1:
        raise InputError(
            f"images have values from {low:g} to {high:g}; corruptions need 0..1. Corrupt images before normalization."
        )


def _checked_severity(severity: Any, n: int) -> jax.Array:
    """Return the severity as an array, int32 [] or [n]."""
    traced = isinstance(severity, jax.core.Tracer)
    array = severity if traced else np.asarray(severity)
    if array.dtype.kind not in "iu" or array.shape not in ((), (n,)):
        raise InputError(
            f"severity is {severity}; it must be an integer from 1 to 5, or an integer array with one for each of the "
            f"{n} images."
        )
    if not traced and array.size and not (array.min() >= 1 and array.max() <= 5):
        raise InputError(f"severity is {severity}; it must be from 1 to 5.")
    return array.astype(np.int32)
