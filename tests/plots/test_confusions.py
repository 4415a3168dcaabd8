import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusions

from jaxcnn.plots.confusions import confusion_matrix, count_confusions
from jaxcnn.runtime.errors import InputError
from tests.plots.drawn import LONG, SHORT, WIDE, lightness, pixels


def labelled(classes, n=400, accuracy=0.9, seed=0):
    noise = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return labels, np.where(noise.random(n) < accuracy, labels, noise.integers(0, classes, n))


def matrix(classes, names, n=400):
    return lambda path: confusion_matrix(*labelled(classes, n), names[:classes], path)


PICTURES = {
    "matrix of 2": matrix(2, SHORT),
    "matrix of 2 long": matrix(2, LONG),
    "matrix of 10": matrix(10, SHORT),
    "matrix of 10 wide": matrix(10, WIDE),
    "matrix of 20 and large counts": matrix(20, LONG, n=300_000),
    "matrix of 21": matrix(21, SHORT),
    "matrix of 100": matrix(100, SHORT),
    "matrix of 100 long": matrix(100, LONG),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_picture_and_do_not_overlap(name, drawn, tmp_path):
    path = PICTURES[name](tmp_path / "picture.png")
    assert path == tmp_path / "picture.png"
    drawn.check_layout(path)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_confusions_equal_sklearns(pairs):
    labels, predictions = np.array(pairs).T
    counts = count_confusions(labels, predictions, 4)
    np.testing.assert_array_equal(counts, sklearn_confusions(labels, predictions, labels=range(4)))


def test_confusions_of_small_integers_do_not_wrap():
    labels = np.array([99, 99, 0], np.uint8)
    counts = count_confusions(labels, labels[::-1].copy(), 100)
    assert counts[99, 0] == counts[0, 99] == counts[99, 99] == 1 and counts.sum() == 3


def test_counts_and_recalls_are_written_in_their_places(drawn, tmp_path):
    counts = np.array([[40, 2, 0], [0, 0, 0], [1, 0, 7]])
    labels, predictions = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T
    confusion_matrix(labels, predictions, ["cat", "$dog_{$", "bird"], tmp_path / "a.png")
    panel = drawn.panels[0]
    written = np.zeros((3, 3), int)
    for text in panel.texts:
        column, line = text.get_position()
        written[line, column] = int(text.get_text())
    np.testing.assert_array_equal(written, counts)
    assert "Accuracy 94.00 %, n = 50" in drawn.words and drawn.words.count("$dog_{$") == 2
    recalls = ["95.2 %", "none", "87.5 %"]
    rows = [panel.transData.transform((0, i))[1] for i in range(3)]
    places = [(drawn.box(word).y0 + drawn.box(word).y1) / 2 for word in recalls]
    np.testing.assert_allclose(places, rows, atol=3)


@pytest.mark.parametrize("classes", [10, 100])
def test_one_error_in_a_thousand_is_visible(classes, drawn, tmp_path):
    labels = np.repeat(np.arange(classes), 1000)
    predictions = labels.copy()
    predictions[3000] = 7
    predictions[5000:5020] = 2
    shown = pixels(confusion_matrix(labels, predictions, SHORT[:classes], tmp_path / "a.png"))

    def colour(true, predicted):
        # Away from the middle of the cell, where the count is written.
        x, y = drawn.panels[0].transData.transform((predicted - 0.35, true - 0.35))
        return shown[shown.shape[0] - 1 - int(y), int(x)]

    assert (colour(7, 3) == 255).all()
    assert lightness(colour(5, 2)) < lightness(colour(3, 7)) - 40
    assert lightness(colour(3, 7)) < 235 and colour(3, 7)[0] > colour(3, 7)[2] + 40
    assert lightness(colour(3, 3)) < 120 and colour(3, 3)[2] > colour(3, 3)[0] + 40


def test_recall_bars_of_many_classes(drawn, tmp_path):
    labels, predictions = labelled(50, n=2000, accuracy=0.7)
    confusion_matrix(labels, predictions, SHORT[:50], tmp_path / "a.png")
    (bars,) = drawn.panels[1].patches
    expected = [(predictions[labels == i] == i).mean() for i in range(50)]
    np.testing.assert_allclose(bars.get_data().values, expected)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: confusion_matrix([0, 1], [0], SHORT, p), r"labels \(2,\) and predictions \(1,\)"),
        (lambda p: confusion_matrix([], [], SHORT, p), "at least 1"),
        (lambda p: confusion_matrix([0, 1], [0, 2], SHORT[:2], p), "predictions run from 0 to 2"),
        (lambda p: confusion_matrix([0, -1], [0, 1], SHORT[:2], p), "labels run from -1 to 0"),
    ],
)
def test_invalid_input_raises_an_error_and_writes_nothing(draw, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
