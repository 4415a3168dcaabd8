"""Every corruption equals its plain form in NumPy and SciPy, given the same random numbers."""

import ast
import functools
import inspect
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import poisson

from jaxcnn.bench import plain_corruptions
from jaxcnn.corruptions import filters
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import CORRUPTIONS, FAMILIES, HOST, corrupt

KEY = jax.random.key(3)
DEVICE = [name for name in CORRUPTIONS if name not in HOST]
SEVERITIES = np.array([1, 2, 3, 4, 5])
# Quick to compile, without and with random numbers.
QUICK = ("contrast", "gaussian_noise")


class Replayed:
    """The random numbers that the corruption of one image draws from its key, for the plain form."""

    def __init__(self, name, key, shape):
        self.name, self.shape = name, shape
        self.keys = list(jax.random.split(key)) if name in ("snow", "elastic_transform") else [key]
        height, width, channels = shape
        if name == "fog":
            levels = 8 if channels == 1 else 5
            self.cloud = np.asarray(jax.random.uniform(key, (4**levels - 1,), minval=-1.0), np.float64)
        if name == "glass_blur":
            self.passes = jax.random.uniform(key, (3, (3 if channels == 1 else 2), height - 1, width - 1))
        if name in ("dotted_line", "zigzag"):
            lines = (1, 5, 2) if name == "dotted_line" else (2, 5)
            self.lines = list(np.asarray(jax.random.uniform(key, lines)))
        if name in ("shear", "rotate", "translate"):
            shape = (2,) if name == "translate" else (1,)
            drawn = jax.random.rademacher(key, shape if name == "translate" else (), jnp.float32)
            self.signs = list(np.asarray(drawn).reshape(shape))

    def standard_normal(self, shape):
        return np.asarray(jax.random.normal(self.keys.pop(0), shape), np.float64)

    def random(self, shape):
        return np.asarray(jax.random.uniform(self.keys.pop(0), shape))

    def poisson(self, rate):
        return np.asarray(jax.random.poisson(self.keys.pop(0), rate.astype(np.float32)))

    def uniform(self, low, high, shape=()):
        if self.name == "fog":
            count = int(np.prod(shape))
            drawn, self.cloud = self.cloud[:count].reshape(shape), self.cloud[count:]
        else:
            drawn = np.asarray(jax.random.uniform(self.keys.pop(0), shape, minval=-1.0), np.float64)
        return (low + high) / 2 + (high - low) / 2 * drawn

    def integers(self, low, high, shape):
        return low + np.floor((high - low) * self.lines.pop(0)).astype(int).reshape(shape)

    def sign(self):
        return self.signs.pop(0)

    def _place(self, what, turn, row, column):
        return float(self.passes[what, turn, self.shape[0] - 1 - row, self.shape[1] - 1 - column])

    def coin(self, turn, row, column):
        return self._place(2, turn, row, column) < 0.5

    def move(self, turn, row, column, reach):
        return [int(np.floor(2 * reach * self._place(i, turn, row, column))) - reach for i in (0, 1)]


@functools.cache
def some_images(shape, n=5):
    """Return images in 0..1 with structure, edges, and values of exactly 0 and 1."""
    draw = np.random.default_rng(7)
    coarse = ndimage.zoom(draw.random((n, 5, 5, shape[-1])), (1, shape[0] / 5, shape[1] / 5, 1), order=1)
    images = np.clip(1.6 * coarse - 0.3, 0, 1).astype(np.float32)
    images[:, 1 : shape[0] // 2, shape[1] // 3] = 1
    return images


def check_against_plain_form(name, shape, atol=2e-4):
    images = some_images(shape)
    found = np.asarray(corrupt(name, images, SEVERITIES, key=KEY))
    assert found.dtype == np.float32 and found.shape == images.shape
    for row, (image, severity) in enumerate(zip(images.astype(np.float64), SEVERITIES, strict=True)):
        draws = Replayed(name, jax.random.fold_in(KEY, row), shape)
        expected = plain_corruptions.corrupt(name, image, severity, draws)
        np.testing.assert_allclose(found[row], expected, atol=atol, err_msg=f"severity {severity}")
    assert np.abs(found - images).mean() > 1e-3


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "fog"])
def test_a_grey_image_is_corrupted_as_in_the_plain_form(name):
    check_against_plain_form(name, (14, 17, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fog", "brightness", "saturate", "spatter", "pixelate", *HOST])
def test_a_colour_image_is_corrupted_as_in_the_plain_form(name):
    check_against_plain_form(name, (16, 13, 3))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_of_the_published_size_is_corrupted_as_in_the_plain_form(name, shape):
    check_against_plain_form(name, shape)


@pytest.mark.parametrize("name", QUICK)
def test_one_severity_for_all_images_equals_an_array(name):
    images = some_images((14, 17, 1))
    expected = corrupt(name, images, SEVERITIES, key=KEY)
    for row, severity in enumerate((1, 2)):
        each = corrupt(name, images, severity, key=KEY)[row]
        np.testing.assert_allclose(each, expected[row], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_jit_and_vmap_change_nothing(name):
    images = some_images((14, 17, 1))
    expected = corrupt(name, images, 2, key=KEY)
    jitted = jax.jit(functools.partial(corrupt, name))
    np.testing.assert_allclose(jitted(images, jnp.int32(2), key=KEY), expected, atol=1e-6)
    with jax.disable_jit():
        np.testing.assert_allclose(corrupt(name, images, 2, key=KEY), expected, atol=1e-6)
    stacked = jax.vmap(lambda x, s: corrupt(name, x, s, key=KEY))(jnp.stack([images, images]), jnp.array([2, 5]))
    np.testing.assert_allclose(stacked[0], expected, atol=1e-6)
    np.testing.assert_allclose(stacked[1], corrupt(name, images, 5, key=KEY), atol=1e-6)


def test_all_severities_are_one_program():
    images, traces = some_images((14, 17, 1)), []

    @jax.jit
    def counted(images, severity):
        traces.append(severity)
        return corrupt("contrast", images, severity, key=KEY)

    for severity in SEVERITIES:
        counted(images, severity)
    assert len(traces) == 1


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise"])
def test_a_result_does_not_depend_on_the_batch(name, kind):
    images, key, severities = some_images((14, 17, 1)), jax.random.key(0, impl=kind), np.full(5, 3)
    whole = np.asarray(corrupt(name, images, severities, key=key))
    order = np.array([4, 1, 3, 7, 0])
    other = images[np.minimum(order, 2)]
    other[[0, 1, 2, 4]] = images[[4, 1, 3, 0]]
    again = np.asarray(corrupt(name, other, severities, key=key, index=order))
    np.testing.assert_array_equal(again[[0, 1, 2, 4]], whole[[4, 1, 3, 0]])
    assert not np.array_equal(corrupt(name, other, severities, key=key), again)


@pytest.mark.slow
def test_fog_of_many_images_equals_fog_of_each():
    images = some_images((14, 17, 3), n=18)
    whole = corrupt("fog", images, 3, key=KEY)
    np.testing.assert_allclose(corrupt("fog", images[17:], 3, key=KEY, index=np.array([17])), whole[17:], atol=1e-6)


def test_a_key_of_the_old_kind_gives_the_same_numbers():
    images = some_images((14, 17, 1))
    old = corrupt("gaussian_noise", images, SEVERITIES, key=jax.random.PRNGKey(3))
    np.testing.assert_array_equal(old, corrupt("gaussian_noise", images, SEVERITIES, key=KEY))


def test_values_are_truncated_as_in_files_of_eight_bits():
    images = some_images((14, 17, 1))
    exact = np.asarray(corrupt("contrast", images, 3, key=KEY))
    found = 255 * np.asarray(corrupt("contrast", images, 3, key=KEY, truncate=True))
    np.testing.assert_allclose(found, np.round(found), atol=1e-4)
    assert (found / 255 <= exact + 1e-6).all() and (found / 255 > exact - 1.001 / 255).all()


def test_shot_noise_has_the_moments_of_photons():
    """A Poisson number with mean m has variance m, so at half brightness and c photons the variance is 0.5 / c."""
    images = np.full((1, 200, 200, 1), 0.5, np.float32)
    for severity, photons in ((1, 60), (2, 25)):
        counts = np.asarray(corrupt("shot_noise", images, severity, key=KEY)) * photons
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)
        # Clipped at 1, so compared up to there.
        below = np.minimum(poisson.rvs(photons / 2, size=10**6, random_state=0), photons)
        np.testing.assert_allclose(counts.mean(), below.mean(), rtol=0.01)
        np.testing.assert_allclose(counts.var(), below.var(), rtol=0.05)


@settings(deadline=None, max_examples=20)
@given(sigma=st.floats(0.05, 4), mode=st.sampled_from(["edge", "symmetric"]), seed=st.integers(0, 99))
def test_the_gaussian_filter_equals_scipys(sigma, mode, seed):
    image = np.random.default_rng(seed).random((7, 12, 2)).astype(np.float32)
    other = {"edge": "nearest", "symmetric": "reflect"}[mode]
    # The size of the filter is an integer, which rounding could change where it jumps.
    expected = ndimage.gaussian_filter(image, (np.float32(sigma), np.float32(sigma), 0), mode=other)
    if abs((4 * sigma + 0.5) % 1 - 0.5) < 0.49:
        found = filters.gaussian_filter(image, jnp.float32(sigma), largest=4, mode=mode)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(size=st.integers(3, 40), factor=st.floats(1, 5), seed=st.integers(0, 99))
def test_the_zoom_equals_scipys(size, factor, seed):
    line = np.random.default_rng(seed).random(size)
    kept = int(np.ceil(size / factor))
    part = line[(size - kept) // 2 :][:kept]
    enlarged = ndimage.zoom(part, factor, order=1, mode="nearest")  # By its default the last pixel may be 0.
    expected = enlarged[(len(enlarged) - size) // 2 :][:size]
    first, step = filters.zoom_grid(size, factor)
    np.testing.assert_allclose(np.interp(first + step * np.arange(size), np.arange(size), line), expected, atol=1e-6)


def test_frames_of_canny_are_thin_and_closed():
    """The edge of a square is one pixel wide and as long as its outline, about."""
    images = np.zeros((2, 20, 20, 1), np.float32)
    images[:, 6:14, 6:14] = 1
    edges = np.asarray(corrupt("canny_edges", images, 5, key=KEY))
    assert set(np.unique(edges)) == {0, 1} and 24 <= edges[0].sum() <= 36
    assert ndimage.label(edges[0, ..., 0], np.ones((3, 3)))[1] == 1
    np.testing.assert_array_equal(edges[0], edges[1])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_docstring_names_the_constants(name):
    """Every number in a table of five severities occurs in the docstring of the corruption."""
    code = ast.parse(textwrap.dedent(inspect.getsource(CORRUPTIONS[name]))).body[0]
    tables = [node for node in ast.walk(code) if isinstance(node, ast.Tuple) and len(node.elts) == 5]
    tables = [node for node in tables if not all(isinstance(each, ast.Name) for each in node.elts)]
    numbers = {
        each.value
        for table in tables
        for each in ast.walk(table)
        if isinstance(each, ast.Constant) and not isinstance(each.value, str)
    }
    assert bool(numbers) == (name not in ("dotted_line", "zigzag"))
    text = inspect.getdoc(CORRUPTIONS[name])
    for number in numbers:
        assert f"{number:g}" in text or str(number) in text, number
    assert "MNIST-C" in text or "CIFAR-10-C" in text


def test_the_families_list_every_corruption_once():
    assert [name for names in FAMILIES.values() for name in names] == list(CORRUPTIONS) == list(plain_corruptions.PLAIN)


IMAGES = np.full((2, 4, 4, 1), 0.5, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "gausian_noise"}, r"'gausian_noise' is unknown; there are gaussian_noise, .*Did you mean 'gaussian_"),
        ({"name": "frost"}, r"'frost' is left out, because it overlays photographs"),
        ({"severity": 0}, r"severity is 0; it must be from 1 to 5"),
        ({"severity": np.array([1, 6])}, r"severity is \[1 6\]; it must be from 1 to 5"),
        ({"severity": 2.5}, r"severity is 2\.5; it must be an integer from 1 to 5"),
        ({"severity": np.array([1, 2, 3])}, r"one for each of the 2 images"),
        ({"images": IMAGES[0]}, r"shape \(4, 4, 1\); corruptions need \[n, height, width, channels\]"),
        ({"images": np.repeat(IMAGES, 2, 3)}, r"with 1 or 3 channels"),
        ({"images": (255 * IMAGES).astype(np.uint8)}, r"uint8; .*Divide uint8 images by 255"),
        ({"images": 3 * IMAGES}, r"values from 1\.5 to 1\.5; corruptions need 0\.\.1\. Corrupt images before norm"),
        ({"images": jnp.asarray(-IMAGES)}, r"values from -0\.5"),
        ({"images": np.where(np.arange(4)[:, None] == 2, np.nan, IMAGES)}, r"images have NaN pixels"),
        ({"index": np.array([1])}, r"index has shape \(1,\); it must be \[2\]"),
    ],
)
def test_bad_input_is_one_message(change, message):
    arguments = {"name": "contrast", "images": IMAGES, "severity": 1, "key": KEY} | change
    with pytest.raises(InputError, match=message):
        corrupt(arguments.pop("name"), arguments.pop("images"), **arguments)


@pytest.mark.parametrize("name", HOST)
def test_a_corruption_of_the_host_cannot_be_traced(name):
    with pytest.raises(InputError, match=f"'{name}' runs on the host, so it cannot be part of a jitted or vmapped"):
        jax.jit(lambda images: corrupt(name, images, 1, key=KEY))(IMAGES)
    with pytest.raises(InputError, match="runs on the host"):
        jax.vmap(lambda severity: corrupt(name, IMAGES, severity, key=KEY))(SEVERITIES)


def test_no_images_give_no_images():
    assert corrupt("contrast", IMAGES[:0], 1, key=KEY).shape == (0, 4, 4, 1)
    assert corrupt("canny_edges", IMAGES[:0], 1, key=KEY).shape == (0, 4, 4, 1)
