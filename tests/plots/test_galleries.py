import numpy as np
import pytest

from jaxcnn.plots import gallery

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (12, 20, 1), (224, 224, 3)])
def test_rows_have_their_name_above_and_keep_their_images(drawn, tmp_path, shape):
    rows = {f"row {i}": rng.random((5 if i else 1, *shape)).astype(np.float32) for i in range(7)}
    drawn.check_layout(gallery(rows, tmp_path / "a.png", title="a title", subtitle="a subtitle"))
    assert [*rows, "a title", "a subtitle"] == sorted(drawn.words, key=[*rows, "a title", "a subtitle"].index)
    tiles = drawn.figure.axes[0].images
    assert len(tiles) == 31
    for row, name in enumerate(rows):
        # A tile shows every pixel as a square of equal size.
        tile = tiles[0 if not row else 5 * row - 4]
        shown, image = tile.get_array(), rows[name][0]
        factor = shown.shape[0] // shape[0]
        middle = shown[factor // 2 :: factor, factor // 2 :: factor].reshape(shape)
        np.testing.assert_allclose(middle, image)
        left, right, _, top = tile.get_extent()
        box = drawn.box(name)
        assert (
            top > 0
            and abs(box.x0 - left) < 3
            and right - left == pytest.approx((tile.get_extent()[2] - top) * shape[1] / shape[0], abs=2)
        )
