import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image
from scipy import ndimage

from jaxcnn.config import Augment, Data
from jaxcnn.data import augment as module
from jaxcnn.data.augment import center_crop, color_axes, make_preprocess
from jaxcnn.data.dataset import Rows
from jaxcnn.runtime.errors import InputError

rng = np.random.default_rng(0)
warp = jax.jit(module.warp)
resized_crop = jax.jit(module.resized_crop, static_argnames="size")


def make_augment(colors=None, **fields):
    return jax.jit(module.make_augment(Augment(**fields), colors))


def scipy_warp(image, shift, angle, scale):
    """Warp one image [h, w, c] with scipy: output p is the input at R (p - c - shift) / scale + c."""
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
def test_warp_equals_scipy(side, seed, reach):
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


def test_warp_rotates_counter_clockwise():
    images = rng.random((1, 7, 7, 1)).astype(np.float32)
    turned = warp(images, jnp.zeros((1, 2)), jnp.full(1, np.pi / 2), jnp.ones(1))
    np.testing.assert_allclose(turned[0], np.rot90(images[0]), atol=1e-5)


def test_augment_without_changes_is_none():
    assert module.make_augment(Augment()) is None


def test_flip_mirrors_about_half_of_the_images():
    images = rng.integers(0, 256, (2000, 2, 3, 1), dtype=np.uint8)
    images[:, :, 0] = images[:, :, 2] // 2
    out = np.asarray(make_augment(flip=True)(jax.random.key(1), images)) * 255
    same = np.isclose(out, images, atol=1e-3).all((1, 2, 3))
    mirrored = np.isclose(out, images[:, :, ::-1], atol=1e-3).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 900 < mirrored[~(same & mirrored)].sum() < 1100


def test_shift_reaches_its_bounds_independently_on_each_axis():
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


def test_uint8_and_float_agree_and_the_key_determines_the_result():
    augment = make_augment(shift=2, rotation=10, scale=0.1, flip=True)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    out = augment(jax.random.key(3), images)
    assert out.dtype == jnp.float32 and out.max() <= 1
    np.testing.assert_allclose(augment(jax.random.key(3), images.astype(np.float32) / 255), out, atol=1e-6)
    assert not np.allclose(augment(jax.random.key(4), images), out)
    alike = augment(jax.random.key(3), np.repeat(images[:1], 6, 0))
    assert not np.allclose(alike[0], alike[1])


@pytest.mark.parametrize(
    "fields",
    [
        {"crop": 7, "crop_pad": 1, "rotation": 10, "flip": True, "pca_color": 0.1},
        {"crop": 6, "scale_jitter": (6, 12)},
    ],
)
def test_a_sharded_batch_is_augmented_equally_without_communication(fields):
    augment = make_augment(COLORS, **fields)
    images = rng.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    sharded = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    key = jax.random.key(0)
    compiled = augment.lower(key, sharded).compile()
    np.testing.assert_allclose(compiled(key, sharded), augment(key, images), atol=1e-5)
    words = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
    assert not any(word in compiled.as_text() for word in words)


# --- windows


def test_all_windows_of_the_padded_image_are_equally_likely():
    image = np.arange(1, 21, dtype=np.uint8).reshape(4, 5, 1)
    padded = np.zeros((6, 7, 1), np.uint8)
    padded[1:5, 1:6] = image
    windows = [padded[i : i + 3, j : j + 3] for i in range(4) for j in range(5)]
    out = make_augment(crop=3, crop_pad=1)(jax.random.key(2), np.repeat(image[None], 4000, 0))
    found = np.rint(np.asarray(out) * 255).astype(np.uint8)
    counts = [np.all(found == window, (1, 2, 3)).sum() for window in windows]
    assert sum(counts) == 4000 and min(counts) > 140 and max(counts) < 260


def test_a_crop_of_the_whole_image_does_not_change_it():
    images = rng.random((3, 5, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(make_augment(crop=5)(jax.random.key(0), images), images)


def pil_window(image, side, corner, size):
    """Resize the whole image with PIL, channel by channel, to a short side of `side`; return a window of it."""
    short = min(image.shape[:2])
    height, width = (n * side // short for n in image.shape[:2])
    planes = [
        # The box keeps the aspect ratio if the long side is not a whole number of pixels.
        Image.fromarray(plane).resize(
            (width, height), Image.Resampling.BILINEAR, (0, 0, width * short / side, height * short / side)
        )
        for plane in np.moveaxis(image, -1, 0)
    ]
    y, x = corner
    return np.stack([np.asarray(plane)[y : y + size, x : x + size] for plane in planes], -1)


@pytest.mark.parametrize("shape", [(20, 20, 3), (18, 27, 1), (31, 16, 2)])
def test_a_resized_crop_equals_pil(shape):
    draw = np.random.default_rng(0)
    images = draw.random((24, *shape)).astype(np.float32)
    side = draw.integers(9, 41, 24)
    side[:2] = 9, min(shape[:2])
    room = side[:, None] * np.array(shape[:2]) // min(shape[:2]) - 9
    corner = draw.integers(0, room + 1)
    expected = [pil_window(*each, 9) for each in zip(images, side, corner, strict=True)]
    np.testing.assert_allclose(resized_crop(images, side, corner, size=9), expected, atol=1e-5)
    whole = [np.rint(255 * image).astype(np.uint8) for image in images]
    np.testing.assert_allclose(resized_crop(np.stack(whole), side, corner, size=9), expected, atol=0.003)


def test_scale_jitter_draws_sides_and_positions_uniformly():
    y, x = np.mgrid[:24, :36].astype(np.float32)
    images = np.repeat(np.stack([y, x], -1)[None], 3000, 0)
    out = np.asarray(make_augment(crop=16, scale_jitter=(24, 40))(jax.random.key(0), images))
    # Away from borders an enlarged ramp is a ramp: its slope determines the side, its height the position.
    slope = (out[:, 12, 8] - out[:, 4, 8])[:, 0] / 8
    side = 24 / slope
    np.testing.assert_allclose(side, np.rint(side), atol=1e-3)
    counts = np.bincount(np.rint(side).astype(int), minlength=41)
    assert counts[:24].sum() == 0 and len(counts) == 41 and counts[24:].min() > 120 and counts[24:].max() < 240
    place = (out[:, 8, 8] + 0.5) / slope[:, None] - 8.5
    np.testing.assert_allclose(place, np.rint(place), atol=0.01)
    share = np.rint(place) / np.floor(side[:, None] * [1, 1.5] - 16 + 1e-3)
    assert share.min() == 0 and share.max() == 1 and abs(share.mean(0) - 0.5).max() < 0.03


def test_the_centre_crop_equals_the_crop_of_resized_data_sets():
    images = rng.integers(0, 256, (2, 9, 12, 3), dtype=np.uint8)
    assert center_crop(images, None) is images
    np.testing.assert_array_equal(center_crop(images, 9), images[:, :, 2:11])
    np.testing.assert_array_equal(center_crop(images, 5), images[:, 2:7, 4:9])
    np.testing.assert_array_equal(center_crop(images, 6), images[:, 2:8, 3:9])
    assert center_crop(images, 5).dtype == np.uint8


@pytest.mark.parametrize("fields", [{"crop": 9, "crop_pad": 4}, {"crop": 9, "scale_jitter": (9, 20)}])
def test_images_smaller_than_the_crop_raise_one_message(fields):
    words = r"^Augment\.crop is 9; images are 8x12, so it must be at most 8\. Lower .*or raise config\.data\.image_size"
    images = np.zeros((2, 8, 12, 3), np.uint8)
    for cut in (lambda: center_crop(images, 9), lambda: make_augment(**fields)(jax.random.key(0), images)):
        with pytest.raises(InputError, match=words):
            cut()


# --- colour

COLORS = np.array([[0.1, 0.02, 0.0], [0.1, -0.01, 0.004], [0.1, -0.01, -0.004]], np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_axes_are_the_singular_vectors_of_the_pixels(channels):
    mix = rng.random((channels, channels))
    images = (rng.random((50, 6, 7, channels)) @ mix).astype(np.float32)
    pixels = images.reshape(-1, channels).astype(np.float64)
    _, singular, vectors = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    got = color_axes(images)
    assert got.shape == (channels, channels) and got.dtype == np.float32
    for i, vector in enumerate(vectors):
        vector = vector * np.sign(vector.sum())
        np.testing.assert_allclose(got[:, i], vector * singular[i] ** 2 / len(pixels), rtol=1e-3, atol=1e-6)


def test_color_axes_of_uint8_are_in_the_scale_of_float_images():
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(color_axes(images), color_axes(images.astype(np.float32) / 255), rtol=1e-4, atol=1e-7)


def test_color_axes_read_a_few_images_and_are_close_to_the_axes_of_all():
    read = []

    class Watched(Rows):
        def __getitem__(self, rows):
            read.append(len(rows))
            return super().__getitem__(rows)

    # Most of the colour variance is between images.
    colors = rng.normal(size=(9000, 1, 1, 3)) * [3, 2, 1] + rng.normal(size=(9000, 8, 8, 3))
    images = colors.astype(np.float32)
    got = color_axes(Watched(images, np.arange(9000)))
    assert sum(read) == module._COLOR_IMAGES and max(read) <= 100
    np.testing.assert_allclose(np.abs(got), np.diag([10, 5, 2]), atol=0.6)
    np.testing.assert_array_equal(got, color_axes(images))


def test_pca_color_adds_one_draw_of_each_component_to_all_pixels_of_an_image():
    images = rng.random((4000, 3, 2, 3)).astype(np.float32)
    added = np.asarray(make_augment(COLORS, pca_color=0.2)(jax.random.key(5), images)) - images
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-6)
    draws = np.linalg.solve(COLORS, added[:, 0, 0].T)
    np.testing.assert_allclose(np.cov(draws), 0.04 * np.eye(3), atol=0.003)
    assert np.abs(draws.mean(1)).max() < 0.015 and abs(np.mean(np.abs(draws) < 0.2) - 0.6827) < 0.02


def test_pca_color_needs_the_axes():
    with pytest.raises(InputError, match=r"Augment\.pca_color is 0\.1; make_augment needs colors=color_axes"):
        make_augment(pca_color=0.1)


# --- preprocessing


def test_preprocess_equals_its_formula():
    images = rng.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 2.0, 0.25)
    preprocess = make_preprocess(Data(mean=mean, std=std))
    np.testing.assert_allclose(preprocess(images), (images / 255 - mean) / std, rtol=1e-5, atol=1e-6)
    floats = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(preprocess(floats), (floats - mean) / std, rtol=1e-5, atol=1e-6)
    one = make_preprocess(Data(mean=(0.5,), std=(1 / 255,)))(images)
    np.testing.assert_allclose(one, images - 127.5, atol=1e-4)
    assert one.dtype == jnp.float32


def test_preprocess_treats_augmented_and_stored_images_equally():
    images = rng.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    preprocess = make_preprocess(Data(mean=(0.5,), std=(0.2,)))
    still = warp(images / np.float32(255), jnp.zeros((2, 2)), jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(preprocess(still), preprocess(images), atol=1e-6)
    flipped = make_augment(flip=True)(jax.random.key(0), images)
    np.testing.assert_allclose(np.sort(preprocess(flipped), 2), np.sort(preprocess(images), 2), atol=1e-6)


@pytest.mark.parametrize(("name", "values"), [("mean", (0.1, 0.2)), ("std", (1.0, 1.0))])
def test_preprocess_names_the_field_that_does_not_match_the_channels(name, values):
    with pytest.raises(InputError, match=rf"Data\.{name} is .*1 value, or 3"):
        make_preprocess(Data(**{name: values}))(np.zeros((1, 4, 4, 3), np.uint8))


def test_preprocess_returns_channels_in_the_order_of_the_network():
    images = rng.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    mean, std = np.array([104, 117, 123]) / 255, (0.5, 2.0, 0.25)
    preprocess = make_preprocess(Data(mean=tuple(mean), std=std, channel_order="bgr"))
    expected = (np.stack([images[..., 2], images[..., 1], images[..., 0]], -1) / 255 - mean) / std
    np.testing.assert_allclose(preprocess(images), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"Data\.channel_order is 'bgr'; images with 1 channel\(s\) need 'rgb'"):
        make_preprocess(Data(channel_order="bgr"))(images[..., :1])
