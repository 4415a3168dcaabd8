import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.dataset import Rows
from jaxcnn.plots.mistakes import confident_errors, most_confident_errors
from jaxcnn.runtime.errors import InputError
from tests.plots.drawn import LONG, SHORT, WIDE, pixels


def mistaken(wrong, classes, n=60, size=28, channels=1):
    """Return images, labels and probabilities with exactly `wrong` errors."""
    noise = np.random.default_rng(wrong)
    labels = np.arange(n) % classes
    probabilities = np.full((n, classes), 0.1 / classes)
    probabilities[np.arange(n), labels] += 1
    probabilities[np.arange(wrong), (labels[:wrong] + 1) % classes] += 1 + noise.permutation(wrong) + 1
    images = noise.integers(0, 256, (n, size, size, channels)).astype(np.uint8)
    return images, labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def errors(wrong, classes, names, **kwargs):
    return lambda path: confident_errors(*mistaken(wrong, classes, **kwargs), names[:classes], path)


PICTURES = {
    "no error": errors(0, 10, SHORT),
    "1 error": errors(1, 2, SHORT),
    "1 error long": errors(1, 100, LONG),
    "6 errors of photographs": errors(6, 10, SHORT, size=224, channels=3),
    "25 errors": errors(25, 10, SHORT),
    "25 errors of middling names": errors(25, 10, [f"automobile {i}" for i in range(10)]),
    "25 errors wide": errors(25, 10, WIDE),
    "30 errors long": errors(30, 100, LONG, channels=3),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_picture_and_do_not_overlap(name, drawn, tmp_path):
    path = PICTURES[name](tmp_path / "picture.png")
    assert path == tmp_path / "picture.png"
    drawn.check_layout(path)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.sampled_from([0.1, 0.2, 0.5]), min_size=3, max_size=3)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 6),
)
def test_most_confident_errors_equal_a_loop(examples, most):
    found = []
    for index, (label, probabilities) in enumerate(examples):
        predicted = probabilities.index(max(probabilities))
        if predicted != label:
            found.append((max(probabilities), index))
    expected = []
    while found and len(expected) < most:
        best = max(p for p, _ in found)
        index = next(i for p, i in found if p == best)
        found.remove((best, index))
        expected.append(index)
    labels, probabilities = [e[0] for e in examples], [e[1] for e in examples]
    assert most_confident_errors(labels, probabilities, most).tolist() == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_errors_show_enlarged_pixels_without_smoothing(channels, drawn, tmp_path):
    images, labels, probabilities = mistaken(3, 10, size=28, channels=channels)
    path = confident_errors(images, labels, probabilities, SHORT[:10], tmp_path / "a.png", most=2)
    order = sorted(range(3), key=lambda i: -probabilities[i].max())[:2]
    captions = [f"{labels[i]} → {labels[i] + 1}, {probabilities[i].max():.2f}" for i in order]
    assert drawn.words == ["2 most confident of 3 errors, n = 60", *captions]
    shown = pixels(path)
    for i, image in zip(order, drawn.figure.axes[0].images, strict=True):
        box = image.get_window_extent()
        left, top = round(box.x0), round(shown.shape[0] - box.y1)
        tile = shown[top : top + 168, left : left + 168]
        expected = np.broadcast_to(images[i], (28, 28, 3)).repeat(6, axis=0).repeat(6, axis=1)
        assert np.abs(tile - expected).max() <= 1


def test_only_the_images_that_are_drawn_are_read(drawn, tmp_path):
    images, labels, probabilities = mistaken(40, 10, n=60)
    read = []

    class Decoded:
        """Images that are decoded when they are indexed."""

        shape, dtype, ndim = images.shape, images.dtype, images.ndim

        def __getitem__(self, rows):
            read.extend(rows)
            return images[rows]

    rows = Rows(Decoded(), np.arange(60))
    confident_errors(rows, labels, probabilities, SHORT[:10], tmp_path / "a.png", most=5)
    assert sorted(read) == sorted(most_confident_errors(labels, probabilities, 5))
    shown = [image.get_array() for image in drawn.figure.axes[0].images]
    confident_errors(images.tolist(), labels, probabilities, SHORT[:10], tmp_path / "b.png", most=5)
    assert len(drawn.figure.axes[0].images) == len(shown) == 5


def test_floats_are_rescaled_only_if_they_exceed_the_unit_interval(drawn, tmp_path):
    images, labels, probabilities = mistaken(4, 10)
    grey = images / 510.0
    confident_errors(grey, labels, probabilities, SHORT[:10], tmp_path / "a.png")
    shown = np.stack([image.get_array() for image in drawn.figure.axes[0].images])
    assert shown.max() <= 0.5
    confident_errors(5 * grey - 1, labels, probabilities, SHORT[:10], tmp_path / "b.png")
    stretched = np.stack([image.get_array() for image in drawn.figure.axes[0].images])
    assert (stretched.min(), stretched.max()) == (0, 1)
    np.testing.assert_allclose(stretched, (shown - shown.min()) / np.ptp(shown), atol=1e-6)


def test_images_with_other_channel_counts_show_the_first_channel(drawn, tmp_path):
    images, labels, probabilities = mistaken(1, 10, channels=4)
    confident_errors(images, labels, probabilities, SHORT[:10], tmp_path / "a.png")
    np.testing.assert_allclose(drawn.figure.axes[0].images[0].get_array(), images[0, ..., 0] / 255, atol=1e-6)


def test_a_run_without_errors_says_so(drawn, tmp_path):
    errors(0, 10, SHORT)(tmp_path / "a.png")
    assert drawn.words == ["No errors, n = 60"]


def test_names_with_dollar_signs_are_not_formulas(drawn, tmp_path):
    errors(1, 2, [r"$\bad", "$y_"])(tmp_path / "a.png")
    assert any(word.startswith(r"$\bad → $y_, 0.") for word in drawn.words)


def test_names_that_do_not_fit_end_in_an_ellipsis(drawn, tmp_path):
    errors(2, 2, ["cat", "M" * 60])(tmp_path / "a.png")
    assert any("M…" in word for word in drawn.words) and not any("M" * 60 in word for word in drawn.words)
    errors(2, 2, ["cat", "great  crested\nwoodpecker"])(tmp_path / "b.png")
    assert any("great crested woodpecker" in word for word in drawn.words)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: confident_errors(np.zeros((2, 4, 4)), [0, 1], np.eye(2), SHORT[:2], p), "images are"),
        (lambda p: confident_errors(np.zeros((2, 4, 4, 1)), [0, 1], np.eye(2), SHORT, p), "100 names"),
        (
            lambda p: confident_errors(np.zeros((2, 4, 4, 1)), [0], np.eye(2), SHORT[:2], p),
            "probabilities are",
        ),
        (lambda p: confident_errors(np.zeros((2, 4, 4, 1)), [0, 1], np.eye(2), SHORT[:2], p, 0), "most is 0"),
    ],
)
def test_invalid_input_raises_an_error_and_writes_nothing(draw, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
