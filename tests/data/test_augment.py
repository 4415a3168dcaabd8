import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy import ndimage

from jaxcnn.config import Augment, Data
from jaxcnn.data import augment as module
from jaxcnn.data.augment import make_preprocess
from jaxcnn.errors import InputError

rng = np.random.default_rng(0)
warp = jax.jit(module.warp)


def make_augment(**fields):
    return jax.jit(module.make_augment(Augment(**fields)))


def scipy_warp(image, shift, angle, scale):
    """One image [h, w, c] through scipy: output p is input at R (p - c - shift) / scale + c."""
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - matrix @ (centre + shift)
    planes = [
        ndimage.affine_transform(image[..., c], matrix, offset, order=1, mode="grid-constant", cval=0)
        for c in range(image.shape[-1])
    ]
    return np.stack(planes, -1)


@settings(deadline=None, max_examples=15)
@given(
    side=st.sampled_from([(9, 9, 1), (8, 11, 3), (1, 6, 1)]),
    seed=st.integers(0, 2**31),
    reach=st.sampled_from([0.5, 3.0, 20.0]),
)
def test_warp_is_scipys(side, seed, reach):
    draw = np.random.default_rng(seed)
    images = draw.random((4, *side)).astype(np.float32)
    shift = draw.uniform(-reach, reach, (4, 2)).astype(np.float32)
    angle = draw.uniform(-np.pi, np.pi, 4).astype(np.float32)
    scale = draw.uniform(0.3, 3, 4).astype(np.float32)
    expected = [scipy_warp(*each) for each in zip(images, shift, angle, scale, strict=True)]
    np.testing.assert_allclose(warp(images, shift, angle, scale), expected, atol=2e-4)


def test_warp_by_whole_pixels_moves_them_exactly():
    images = rng.random((2, 5, 6, 2)).astype(np.float32)
    moved = warp(images, jnp.array([[2.0, -1.0], [0.0, 0.0]]), jnp.zeros(2), jnp.ones(2))
    expected = np.zeros_like(images)
    expected[0, 2:, :-1] = images[0, :-2, 1:]
    expected[1] = images[1]
    np.testing.assert_array_equal(moved, expected)


def test_warp_turns_counter_clockwise():
    images = rng.random((1, 7, 7, 1)).astype(np.float32)
    turned = warp(images, jnp.zeros((1, 2)), jnp.full(1, np.pi / 2), jnp.ones(1))
    np.testing.assert_allclose(turned[0], np.rot90(images[0]), atol=1e-5)


def test_nothing_on_is_none():
    assert module.make_augment(Augment()) is None


def test_flip_mirrors_about_half_of_the_images():
    images = rng.integers(0, 256, (2000, 2, 3, 1), dtype=np.uint8)
    images[:, :, 0] = images[:, :, 2] // 2
    out = np.asarray(make_augment(flip=True)(jax.random.key(1), images)) * 255
    same = np.isclose(out, images, atol=1e-3).all((1, 2, 3))
    mirrored = np.isclose(out, images[:, :, ::-1], atol=1e-3).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 900 < mirrored[~(same & mirrored)].sum() < 1100


def test_shift_reaches_its_bounds_on_each_axis_apart():
    images = np.zeros((400, 15, 15, 1), np.float32)
    images[:, 7, 7] = 1
    out = np.asarray(make_augment(shift=3.0)(jax.random.key(0), images))[..., 0]
    grid = np.arange(15) - 7
    y, x = np.einsum("nyx,y->n", out, grid), np.einsum("nyx,x->n", out, grid)
    for moved in (y, x):
        assert np.abs(moved).max() <= 3 + 1e-4 and moved.min() < -2.9 and moved.max() > 2.9
        assert abs(moved.mean()) < 0.3 and abs(moved.std() - 3 / np.sqrt(3)) < 0.15
    assert abs(np.corrcoef(y, x)[0, 1]) < 0.15


def test_scale_and_rotation_reach_their_bounds():
    disc = (np.hypot(*np.mgrid[-20:21, -20:21]) < 10).astype(np.float32)
    discs = np.tile(disc[None, ..., None], (300, 1, 1, 1))
    sized = np.asarray(make_augment(scale=0.2)(jax.random.key(0), discs))
    size = np.sqrt(sized.sum((1, 2, 3)) / disc.sum())
    assert 0.79 < size.min() < 0.83 and 1.17 < size.max() < 1.21
    bar = np.zeros((300, 41, 41, 1), np.float32)
    bar[:, 20, 32] = 1
    out = np.asarray(make_augment(rotation=30)(jax.random.key(0), bar))[..., 0]
    grid = np.arange(41) - 20
    turned = np.degrees(np.arctan2(np.einsum("nyx,y->n", out, -grid), np.einsum("nyx,x->n", out, grid)))
    assert -31 < turned.min() < -28 and 28 < turned.max() < 31


def test_uint8_and_float_agree_and_the_key_decides():
    augment = make_augment(shift=2, rotation=10, scale=0.1, flip=True)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    out = augment(jax.random.key(3), images)
    assert out.dtype == jnp.float32 and out.max() <= 1
    np.testing.assert_allclose(augment(jax.random.key(3), images.astype(np.float32) / 255), out, atol=1e-6)
    assert not np.allclose(augment(jax.random.key(4), images), out)
    alike = augment(jax.random.key(3), np.repeat(images[:1], 6, 0))
    assert not np.allclose(alike[0], alike[1])


def test_a_sharded_batch_changes_alike():
    augment = make_augment(shift=2, rotation=10, scale=0.1, flip=True)
    images = rng.integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    sharded = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    key = jax.random.key(0)
    np.testing.assert_allclose(augment(key, sharded), augment(key, images), atol=1e-6)


def test_preprocess_is_its_formula():
    images = rng.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 2.0, 0.25)
    preprocess = make_preprocess(Data(mean=mean, std=std))
    np.testing.assert_allclose(preprocess(images), (images / 255 - mean) / std, rtol=1e-5, atol=1e-6)
    floats = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(preprocess(floats), (floats - mean) / std, rtol=1e-5, atol=1e-6)
    one = make_preprocess(Data(mean=(0.5,), std=(1 / 255,)))(images)
    np.testing.assert_allclose(one, images - 127.5, atol=1e-4)
    assert one.dtype == jnp.float32


def test_preprocess_takes_augmented_images_as_it_takes_stored_ones():
    images = rng.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    preprocess = make_preprocess(Data(mean=(0.5,), std=(0.2,)))
    still = warp(images / np.float32(255), jnp.zeros((2, 2)), jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(preprocess(still), preprocess(images), atol=1e-6)
    flipped = make_augment(flip=True)(jax.random.key(0), images)
    np.testing.assert_allclose(np.sort(preprocess(flipped), 2), np.sort(preprocess(images), 2), atol=1e-6)


@pytest.mark.parametrize(("name", "values"), [("mean", (0.1, 0.2)), ("std", (1.0, 1.0))])
def test_preprocess_names_what_does_not_match_the_channels(name, values):
    with pytest.raises(InputError, match=rf"Data\.{name} is .*1 value, or 3"):
        make_preprocess(Data(**{name: values}))(np.zeros((1, 4, 4, 3), np.uint8))
