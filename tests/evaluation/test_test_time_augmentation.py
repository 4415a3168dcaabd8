import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcnn.data import center_crop
from jaxcnn.evaluation.test_time_augmentation import Protocol, View, make_protocol, predict, resize, views
from jaxcnn.runtime.errors import InputError

NAMES = ("center", "ten_crop", "multi_crop", "dense", "multi_scale")


def pixels(n=2, height=9, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def places(protocol, size):
    return [(v.top, v.left, v.mirrored) for v in views(protocol, size)]


def test_ten_crop_is_four_corners_and_the_centre_and_their_mirror_images():
    found = places(make_protocol("ten_crop", (256, 256), crop=224), (256, 256))
    corners = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert found == [(*corner, mirrored) for corner in corners for mirrored in (False, True)]


@pytest.mark.parametrize("name", NAMES)
def test_views_are_mirrored_as_in_training_unless_flip_says_otherwise(name):
    def flip(**options):
        return make_protocol(name, (12, 12), crop=8, **options).flip

    assert flip() == (name in ("ten_crop", "multi_crop"))
    assert not flip(mirroring=False) and not flip(flip=False)
    assert flip(flip=True, mirroring=False)


def test_multi_crop_of_the_paper():
    """VGG section 3.2: 5x5 grid, 2 flips, 3 scales; at scale 224 all windows coincide."""
    protocol = make_protocol("multi_crop", (256, 256), crop=224)
    assert protocol.scales == (224, 256, 288) and protocol.flip
    found = views(protocol, (256, 256))
    assert [sum(v.size == (s, s) for v in found) for s in protocol.scales] == [2, 50, 50]
    grid = {(v.top, v.left) for v in found if v.size == (256, 256)}
    assert grid == {(t, left) for t in (0, 8, 16, 24, 32) for left in (0, 8, 16, 24, 32)}


@pytest.mark.parametrize(
    ("name", "size", "options", "scales"),
    [
        ("center", (256, 256), {"crop": 224}, (256,)),
        ("ten_crop", (256, 256), {"crop": 224, "jitter": (256, 512)}, (256,)),
        ("dense", (256, 256), {"crop": 224}, (256,)),
        ("multi_scale", (256, 256), {"crop": 224}, (224, 256, 288)),
        ("multi_scale", (384, 384), {"crop": 224}, (352, 384, 416)),
        ("multi_scale", (384, 512), {"crop": 224}, (352, 384, 416)),
        ("multi_scale", (32, 32), {}, (32, 36, 40)),
        ("multi_crop", (40, 40), {"crop": 32}, (35, 40, 45)),
        ("dense", (512, 512), {"crop": 224, "jitter": (256, 512)}, (384,)),
        ("multi_scale", (512, 512), {"crop": 224, "jitter": (256, 512)}, (256, 384, 512)),
        ("multi_scale", (512, 512), {"crop": 224, "scales": (300, 301)}, (300, 301)),
    ],
)
def test_scales(name, size, options, scales):
    assert make_protocol(name, size, **options).scales == scales


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.integers(1, 4),
    st.lists(st.integers(4, 50), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
def test_windows_lie_inside_and_weights_sum_to_one(name, size, crop, scales, flip):
    found = views(Protocol(name, (crop, crop), tuple(scales), flip), size)
    assert sum(v.weight for v in found) == pytest.approx(1)
    for scale in scales:
        here = [v for v in found if min(v.size) == scale]
        assert sum(v.weight for v in here) == pytest.approx(1 / len(scales))
    for v in found:
        assert v.top >= 0 and v.left >= 0
        assert v.top + v.crop[0] <= v.size[0] and v.left + v.crop[1] <= v.size[1]
    if flip:
        assert {v[:4] for v in found if v.mirrored} == {v[:4] for v in found if not v.mirrored}


def test_resizing_keeps_the_aspect_ratio():
    (view,) = views(make_protocol("dense", (300, 401), crop=224, scales=(200,)), (300, 401))
    assert view == View((200, 267), (200, 267), 0, 0, False, 1.0)


@pytest.mark.parametrize("crop", [4, 5])
def test_the_central_window_equals_the_one_of_evaluation_during_training(crop):
    images, seen = pixels(), []
    predict(make_protocol("center", (9, 12), crop=crop), lambda x: seen.append(x) or jnp.zeros((2, 3)), images)
    np.testing.assert_array_equal(seen[0], center_crop(images, crop))
    assert seen[0].dtype == np.uint8


@pytest.mark.parametrize("size", [(6, 8), (9, 12), (15, 20)])
def test_resizing_equals_pil(size):
    images = pixels()
    found = np.asarray(resize(images, size))
    if size == (9, 12):
        np.testing.assert_array_equal(found, images)
        return
    for image, expected in zip(found, images, strict=True):
        for c in range(3):
            plane = Image.fromarray(expected[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(image[..., c] * 255, np.asarray(plane), atol=1e-3)


def linear_score(weights):
    """Return a score function whose logits depend on every pixel of a 4x4 window."""
    return lambda x: jnp.asarray(x, jnp.float32).reshape(x.shape[0], -1) / 255 @ weights


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_ten_crop_is_the_mean_of_ten_softmaxes():
    images, weights = pixels(3), np.random.default_rng(1).normal(size=(48, 5)).astype(np.float32)
    found = predict(make_protocol("ten_crop", (9, 12), crop=4), linear_score(weights), images)
    expected = []
    for top, left in [(0, 0), (0, 8), (5, 0), (5, 8), (2, 4)]:
        window = images[:, top : top + 4, left : left + 4]
        for view in (window, window[:, :, ::-1]):
            expected.append(softmax(view.reshape(3, -1) / 255 @ weights))
    np.testing.assert_allclose(np.exp(found), np.mean(expected, axis=0), rtol=1e-5)


def test_a_map_of_scores_is_averaged_before_the_softmax_and_scales_after_it():
    """VGG section 3.2; the score of a pixel is its colour, so the result follows from mean colours at each scale."""
    images = pixels(2, 8, 8)
    protocol = make_protocol("multi_scale", (8, 8), crop=4, scales=(8, 4), flip=False)
    found = predict(protocol, lambda x: jnp.where(x.dtype == np.uint8, x / np.float32(255), x) * 9, images)
    small = np.asarray(resize(images, (4, 4)))
    expected = (softmax(9 * images.mean((1, 2)) / 255) + softmax(9 * small.mean((1, 2)))) / 2
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-5)
    assert not np.allclose(expected, softmax(9 * images / 255).mean((1, 2)), rtol=1e-3)


def test_probabilities_that_would_underflow_are_kept():
    logits = jnp.array([[0.0, -300.0]])
    found = predict(make_protocol("center", (4, 4)), lambda x: logits, np.zeros((1, 4, 4, 1), np.uint8))
    np.testing.assert_array_equal(found, logits)
    many = predict(make_protocol("ten_crop", (6, 6), crop=4), lambda x: logits, np.zeros((1, 6, 6, 1), np.uint8))
    np.testing.assert_allclose(many, [[0, -300]], atol=1e-4)


def test_views_are_computed_one_at_a_time():
    sizes = []
    protocol = make_protocol("multi_crop", (9, 12), crop=4, scales=(6, 9))
    predict(protocol, lambda x: sizes.append(x.shape) or jnp.zeros((2, 3)), jax.device_put(pixels()))
    assert sizes == [(2, 4, 4, 3)] * 100


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("densee", (32, 32)), {}, "protocol 'densee' is unknown; it must be one of center, .*Did you mean 'dense'"),
        (("center", (32, 32)), {"crop": 40}, "crop is 40x40; images at 32x32 are smaller"),
        (("multi_crop", (32, 32)), {"crop": 30, "scales": (36, 28)}, "crop is 30x30; images at 28x28"),
        (("ten_crop", (32, 32)), {}, "only one view .* larger --scales, for example 36"),
        (("multi_crop", (8, 8)), {"scales": (8,)}, "multi_crop has only one view"),
        (("center", (8, 8)), {"crop": -1}, "Protocol.crop is"),
        (("center", (8, 8)), {"scales": (0,)}, "Protocol.scales is"),
    ],
)
def test_invalid_input_raises_one_message(arguments, options, message):
    with pytest.raises(InputError, match=message) as error:
        make_protocol(*arguments, **options)
    assert "\n" not in str(error.value)
