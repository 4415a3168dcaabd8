import numpy as np
import pytest

from jaxcnn.plots import first_layer_filters
from jaxcnn.runtime.errors import InputError
from tests.plots.drawn import lightness, pixels


def kernel(*shape):
    return np.random.default_rng(0).normal(size=shape)


def filters(*shape):
    return lambda path: first_layer_filters(kernel(*shape), path)


PICTURES = {
    "6 filters": filters(5, 5, 1, 6),
    "1 filter": filters(3, 3, 1, 1),
    "96 filters": filters(11, 11, 3, 96),
    "64 filters of 16 channels": filters(3, 3, 16, 64),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_picture_and_do_not_overlap(name, drawn, tmp_path):
    path = PICTURES[name](tmp_path / "picture.png")
    assert path == tmp_path / "picture.png"
    drawn.check_layout(path)


def test_rgb_filters_are_each_stretched_to_their_own_range(drawn, tmp_path):
    weights = kernel(5, 5, 3, 7) * np.arange(7)
    shown = pixels(first_layer_filters(weights, tmp_path / "a.png"))
    tiles = drawn.figure.axes[0].images
    assert len(tiles) == 7
    for i in range(1, 7):
        own = weights[..., i]
        expected = 255 * (own - own.min()) / (own.max() - own.min())
        box = tiles[i].get_window_extent()
        left, top, size = round(box.x0), round(shown.shape[0] - box.y1), round(box.width)
        tile = shown[top : top + size, left : left + size]
        assert np.abs(tile - expected.repeat(size // 5, axis=0).repeat(size // 5, axis=1)).max() <= 1


def test_filters_over_bgr_have_the_colours_of_the_image(drawn, tmp_path):
    weights = np.zeros((3, 3, 3, 2))
    weights[:, :, 0, 0] = 1  # The first channel is blue.
    weights[1, 1, 2, 1] = 1
    first_layer_filters(weights, tmp_path / "a.png", channel_order="bgr")
    blue, red = (np.asarray(tile.get_array()) for tile in drawn.figure.axes[0].images)
    assert (blue == [0, 0, 1]).all() and (red[1, 1] == [1, 0, 0]).all()


def test_filters_of_one_channel_share_a_scale_that_is_monotonic_in_greyscale(drawn, tmp_path):
    ramp = np.linspace(-2, 2, 9).reshape(1, 9, 1, 1) * np.array([1.0, 0.5])
    shown = pixels(first_layer_filters(ramp, tmp_path / "a.png"))
    assert [word for word in drawn.words if word in ("-2", "0", "2")] == ["-2", "0", "2"]
    strips = []
    for image in drawn.figure.axes[0].images:
        box = image.get_window_extent()
        step = box.width / 9
        line = shown[int(shown.shape[0] - (box.y0 + box.y1) / 2)]
        strips.append(np.array([line[int(box.x0 + (i + 0.5) * step)] for i in range(9)]))
    for strip in strips:
        assert (np.diff(lightness(strip)) > 3).all()
    assert np.ptp(strips[0][4]) <= 6
    np.testing.assert_allclose(strips[0][[2, 4, 6]], strips[1][[0, 4, 8]], atol=2)


def test_kernels_with_other_channel_counts_show_channels_in_rows(drawn, tmp_path):
    weights = kernel(3, 3, 9, 20)
    first_layer_filters(weights, tmp_path / "a.png")
    tiles = drawn.figure.axes[0].images
    assert len(tiles) == 8 * 16
    np.testing.assert_allclose(tiles[0].get_array(), weights[:, :, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(tiles[16 + 3].get_array(), weights[:, :, 1, 3], rtol=1e-6)
    boxes = [tiles[i].get_window_extent() for i in (0, 3, 19)]
    assert boxes[1].y0 == boxes[0].y0 and boxes[2].y0 < boxes[1].y0 and abs(boxes[2].x0 - boxes[1].x0) < 0.01


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (3, 3, 3, 4)])
def test_constant_filters_are_drawn(shape, tmp_path):
    assert first_layer_filters(np.zeros(shape), tmp_path / "a.png").stat().st_size


@pytest.mark.parametrize(
    ("draw", "message"),
    [(lambda p: first_layer_filters(np.zeros((8, 8)), p), r"kernel is \(8, 8\)")],
)
def test_invalid_input_raises_an_error_and_writes_nothing(draw, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
