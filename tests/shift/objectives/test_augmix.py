"""AugMix: its operations against PIL, its divergence against NumPy, and the distributions of its mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.spatial.distance import jensenshannon

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import AugMix, CorruptionAugmentation, corrupt, jensen_shannon
from jaxcnn.shift.objectives.augmix import augment_and_mix
from jaxcnn.shift.objectives.operations import GEOMETRIC, OPERATIONS, TONAL, operate

rng = np.random.default_rng(0)
KEY = jax.random.key(0)


def smooth(height=12, width=10, channels=1):
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    return np.asarray(small)[..., :channels]


def in_pil(name, image, level, sign):
    """Return the operation of the published code for a level, with the integers it draws from it."""
    width, height = image.size
    affine = {
        "shear_x": (1, sign * level * 0.3 / 10, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, sign * level * 0.3 / 10, 1, 0),
        "translate_x": (1, 0, sign * int(level * (width / 3) / 10), 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, sign * int(level * (height / 3) / 10)),
    }
    if name in affine:
        return image.transform(image.size, Image.AFFINE, affine[name], resample=Image.BILINEAR)
    if name == "rotate":
        return image.rotate(sign * int(level * 30 / 10), resample=Image.BILINEAR)
    return {
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "posterize": lambda: ImageOps.posterize(image, 4 - int(level * 4 / 10)),
        "solarize": lambda: ImageOps.solarize(image, 256 - int(level * 256 / 10)),
    }[name]()


@pytest.fixture(scope="module")
def operations():
    """Return the operations as one program for each shape."""
    return jax.jit(operate)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_equals_pil(operations, name, channels):
    for level, sign in ((0.15, 1), (2.9, -1), (7.3, 1)):
        image = smooth(channels=channels)
        whole = Image.fromarray(image[..., 0] if channels == 1 else image)
        expected = np.asarray(in_pil(name, whole, level, sign)).reshape(image.shape).astype(int)
        found = operations(image.astype(np.float32), OPERATIONS.index(name), np.float32(level), np.float32(sign))
        assert found.dtype == np.float32 and found.shape == image.shape
        # PIL rounds down after a sum in another order.
        assert np.abs(np.asarray(found) - expected).max() <= (1 if name in (*GEOMETRIC, "autocontrast") else 0)


@pytest.mark.parametrize("name", TONAL)
def test_tones_of_sparse_and_of_constant_images_equal_pils(operations, name):
    for image in (np.full((12, 10, 1), 37, np.uint8), np.eye(12, 10, dtype=np.uint8)[..., None] * 200, smooth() // 9):
        expected = np.asarray(in_pil(name, Image.fromarray(image[..., 0]), 2.9, 1))[..., None]
        found = operations(image.astype(np.float32), OPERATIONS.index(name), np.float32(2.9), np.float32(1))
        assert np.abs(np.asarray(found) - expected).max() <= (name == "autocontrast")


def test_no_operation_resembles_a_test_corruption():
    assert not {"contrast", "brightness", "color", "sharpness"} & {*OPERATIONS}


def test_the_divergence_is_the_mean_divergence_from_the_mixture():
    logits = rng.normal(size=(3, 5, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    mixture = p.mean(0)
    expected = np.mean([(each * np.log(each / mixture)).sum(-1) for each in p])
    assert float(jensen_shannon(*map(jnp.asarray, logits))) == pytest.approx(expected, rel=1e-5)
    two = np.mean([jensenshannon(a, b) ** 2 for a, b in zip(p[0], p[1], strict=True)])
    assert float(jensen_shannon(*map(jnp.asarray, logits[:2]))) == pytest.approx(two, rel=1e-5)
    assert float(jensen_shannon(jnp.asarray(logits[1]), jnp.asarray(logits[0]))) == pytest.approx(two, rel=1e-5)


def test_the_divergence_of_certain_predictions_is_at_most_log_k_and_its_gradient_is_finite():
    certain = 1e4 * jnp.eye(3)[:, None]
    value, gradient = jax.value_and_grad(lambda z: jensen_shannon(*z))(certain)
    assert float(value) == pytest.approx(np.log(3), rel=1e-5) and np.isfinite(gradient).all()
    assert float(jensen_shannon(certain[0], certain[0])) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def mixtures():
    return jax.jit(augment_and_mix, static_argnums=2)


def test_mixtures_stay_in_0_to_1_differ_between_images_and_repeat(mixtures):
    images = np.tile(smooth()[None] / np.float32(255), (40, 1, 1, 1))
    mixed = np.asarray(mixtures(KEY, images, AugMix()))
    assert mixed.shape == images.shape and mixed.min() >= 0 and mixed.max() <= 1
    np.testing.assert_array_equal(mixtures(KEY, images, AugMix()), mixed)
    distances = np.abs(mixed[:, None] - mixed[None]).max((2, 3, 4)) + np.eye(40)
    assert distances.min() > 0
    # m from Beta(1, 1) is uniform, so the mean distance from the image is half of that of the chains alone.
    assert 0.01 < np.abs(mixed - images).mean() < 0.3


def test_a_mixture_of_chains_that_change_nothing_is_the_image(mixtures):
    """No operation at this severity changes a black image."""
    black = np.zeros((40, 12, 10, 1), np.float32)
    np.testing.assert_allclose(mixtures(KEY, black, AugMix()), black, atol=1e-6)


def test_corruptions_take_the_first_images_at_every_severity():
    images = np.tile(rng.integers(0, 256, (1, 6, 6, 1), dtype=np.uint8), (40, 1, 1, 1))
    batch = {"image": images, "label": np.arange(40)}
    names = ("gaussian_noise", "contrast")
    found = jax.jit(CorruptionAugmentation(corruptions=names, share=0.55).views)(KEY, batch)
    np.testing.assert_array_equal(found["label"], batch["label"])
    np.testing.assert_allclose(found["image"][22:], images[22:].astype(np.float32) / 255, rtol=1e-6)
    clean = images[:5].astype(np.float32) / 255
    levels = [np.asarray(corrupt("contrast", clean[:1], severity, key=KEY))[0] for severity in range(1, 6)]
    nearest = [int(np.argmin([np.abs(each - level).max() for level in levels])) for each in found["image"][11:22]]
    for each, level in zip(np.asarray(found["image"][11:22]), nearest, strict=True):
        np.testing.assert_allclose(each, levels[level], atol=1e-5)
    assert len({*nearest}) >= 3
    noise = np.asarray(found["image"][:11]) - clean[:1]
    assert len({float(each.std()) for each in noise}) == 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("gausian_noise",)}, r"corruptions has 'gausian_noise'; .* Did you mean 'gaussian_noise'\?"),
        ({"corruptions": ("jpeg_compression",)}, r"has 'jpeg_compression'; those that run on the device are"),
        ({"corruptions": ()}, r"corruptions is empty; name at least one"),
        ({"share": 0.0}, r"share is 0\.0; it must be a finite number > 0 and <= 1"),
    ],
)
def test_bad_options_are_one_message(options, message):
    with pytest.raises(InputError, match=message):
        CorruptionAugmentation(**options)


def test_a_share_that_leaves_a_corruption_without_images_is_an_error():
    batch = {"image": np.zeros((4, 6, 6, 1), np.uint8), "label": np.zeros(4, int)}
    with pytest.raises(InputError, match=r"share is 0\.25; of 4 images in a batch this leaves none for each of 2"):
        CorruptionAugmentation(corruptions=("contrast", "gaussian_noise"), share=0.25).views(KEY, batch)
