"""Subgroups: stroke widths in closed form, classes and their shares."""

import numpy as np
import pytest
from scipy import ndimage

from jaxcnn import Data
from jaxcnn.data import load, stroke_widths
from jaxcnn.data.subgroups import balanced_rows, is_subgroup, subgroup_rows
from jaxcnn.runtime.errors import InputError

rng = np.random.default_rng(0)


def bar(width, length, dtype=np.uint8):
    image = np.zeros((40, 120, 1), dtype)
    image[10 : 10 + width, 5 : 5 + length] = 1 if dtype == np.float32 else 255
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_width_of_a_bar_is_twice_its_area_over_its_outline(dtype):
    for width, length in ((1, 100), (4, 100), (9, 50)):
        found = stroke_widths(bar(width, length, dtype)[None])
        # The outline is shorter by 2 - √2 where both of its directions meet in one pixel.
        outline = 2 * (width + length) - (2 - np.sqrt(2))
        assert found.dtype == np.float32
        assert float(found[0]) == pytest.approx(2 * width * length / outline, rel=1e-5)
    assert stroke_widths(np.zeros((2, 5, 5, 1))).tolist() == [0, 0]


def test_the_width_agrees_with_the_distance_to_the_background():
    """For discs of all sizes, twice the area over the perimeter is the radius, as three times the mean distance is."""
    y, x = np.mgrid[:64, :64] - 31.5
    radii = np.array([5, 8, 12, 17, 25])
    discs = np.stack([(np.clip(radius - np.hypot(x, y) + 0.5, 0, 1))[..., None] for radius in radii])
    found = stroke_widths(discs)
    # The distance of a pixel to the nearest one outside is half a pixel more than that to the edge.
    inside = [disc[..., 0] > 0.5 for disc in discs]
    depths = [ndimage.distance_transform_edt(each)[each].mean() - 0.5 for each in inside]
    np.testing.assert_allclose(found, radii, rtol=0.08)
    np.testing.assert_allclose(found, 3 * np.array(depths), rtol=0.06)


def test_thick_and_thin_are_the_halves():
    images = np.stack([bar(width, 60) for width in (5, 1, 8, 2, 3)])
    labels = np.arange(5)
    assert subgroup_rows("thin", images, labels).tolist() == [1, 3]
    assert subgroup_rows("thick", images, labels).tolist() == [0, 2, 4]
    assert subgroup_rows("classes=0-2@thin", images, labels).tolist() == [1]
    assert subgroup_rows("thick", np.zeros((4, 3, 3, 1)), labels[:4]).tolist() == [2, 3]


def test_classes_and_a_long_tail():
    labels = np.repeat(np.arange(5), 100)[rng.permutation(500)]
    images = np.zeros((500, 2, 2, 1), np.uint8)
    assert {*labels[subgroup_rows("classes=0-1.4", images, labels)]} == {0, 1, 4}
    tail = labels[subgroup_rows("tail=16", images, labels)]
    np.testing.assert_array_equal(np.bincount(tail), [100, 50, 25, 12, 6])
    np.testing.assert_array_equal(np.bincount(labels[subgroup_rows("tail=1", images, labels)]), [100] * 5)
    # The shares are kept where a class has few images.
    few = np.repeat(np.arange(2), [30, 20])
    np.testing.assert_array_equal(np.bincount(few[subgroup_rows("tail=1", np.zeros((50, 1, 1, 1)), few)]), [20, 20])


def test_few_labels_are_balanced_and_nested():
    labels = rng.integers(0, 7, 300)
    for count in (3, 7, 50, 100):
        found = balanced_rows(labels, count, seed=2)
        counts = np.bincount(labels[found], minlength=7)
        assert len({*found}) == count and counts.max() - counts.min() <= 1
        assert {*found} <= {*balanced_rows(labels, 120, seed=2)}
    assert not np.array_equal(balanced_rows(labels, 50, seed=2), balanced_rows(labels, 50, seed=3))
    rare = np.array([0] * 50 + [1] * 2)
    assert np.bincount(rare[balanced_rows(rare, 10, seed=0)]).tolist() == [8, 2]


def test_a_run_can_be_trained_on_a_subgroup_and_scored_on_another():
    dataset = load(Data(source="digits", subgroup="thin", target="digits@thick"), 0)
    assert len(dataset.train) == 718 and len(dataset.test) == 180 and len(dataset.unlabelled) == 719
    widths = [stroke_widths(np.asarray(images)) for images in (dataset.train.images, dataset.unlabelled)]
    assert widths[0].max() <= widths[1].min()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thik", r"subgroup is 'thik'; it must be thick, thin, classes=0-4"),
        ("classes=7", r"subgroup 'classes=7' has no images"),
        ("tail=0.5", r"'tail=0\.5'; the ratio of the largest class to the smallest must be >= 1"),
    ],
)
def test_bad_subgroups_are_one_message(text, message):
    with pytest.raises(InputError, match=message):
        subgroup_rows(text, np.zeros((4, 3, 3, 1)), np.arange(4))
    assert is_subgroup(text) == (text != "thik")
