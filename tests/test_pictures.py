import itertools
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_confusions

from jaxcnn import pictures
from jaxcnn.errors import InputError

SHORT = [str(i) for i in range(100)]
LONG = [f"great-crested woodpecker{i:02d}"[-25:] for i in range(100)]
WIDE = ["M" * 25] * 100


class Drawn:
    """The last figure drawn, and every text on it with its box in pixels."""

    def __init__(self):
        self.figure, self.texts = None, []

    @property
    def words(self):
        return [text for text, _ in self.texts]

    @property
    def panels(self):
        return self.figure.axes[1:]

    def box(self, word):
        (box,) = [box for text, box in self.texts if text == word]
        return box


def watch(monkeypatch):
    record = Drawn()
    print_png, draw = FigureCanvasAgg.print_png, Text.draw

    def keep(canvas, *args, **kwargs):
        record.figure, record.texts = canvas.figure, []
        return print_png(canvas, *args, **kwargs)

    def measure(text, renderer):
        if text.get_visible() and text.get_text():
            record.texts.append((text.get_text(), text.get_window_extent(renderer)))
        return draw(text, renderer)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", keep)
    monkeypatch.setattr(Text, "draw", measure)
    return record


@pytest.fixture
def drawn(monkeypatch):
    return watch(monkeypatch)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def lightness(rgb):
    return np.asarray(rgb) @ (0.299, 0.587, 0.114)


def row(step, split, loss, error, rate=0.1):
    extra = {"learning_rate": rate} if split == "train" else {"error": error}
    return {"step": step, "epoch": step / 10, "split": split, "loss": loss, "accuracy": 1 - error, **extra, "time": {}}


def run(train, evaluated=20, *, split="validation", seed=0, floor=0.01, rates=(0.1,)):
    """Rows of a run whose loss and error fall, with a test row at the end."""
    noise = np.random.default_rng(seed)
    rows = []
    for part, count in (("train", train), (split, evaluated)):
        for i in range(1, count + 1):
            fall = math.exp(-6 * i / count) * math.exp(0.2 * noise.normal())
            rate = rates[(i - 1) * len(rates) // count]
            rows.append(row(i * 1200 // count, part, 2.3 * fall + 1e-3, max(0.0, min(1, 0.9 * fall) - floor), rate))
    return [*rows, row(1200, "test", 0.0123, 0.0083)]


def labelled(classes, n=400, accuracy=0.9, seed=0):
    noise = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return labels, np.where(noise.random(n) < accuracy, labels, noise.integers(0, classes, n))


def mistaken(wrong, classes, n=60, size=28, channels=1):
    """Images, labels and probabilities with exactly so many errors."""
    noise = np.random.default_rng(wrong)
    labels = np.arange(n) % classes
    probabilities = np.full((n, classes), 0.1 / classes)
    probabilities[np.arange(n), labels] += 1
    probabilities[np.arange(wrong), (labels[:wrong] + 1) % classes] += 1 + noise.permutation(wrong) + 1
    images = noise.integers(0, 256, (n, size, size, channels)).astype(np.uint8)
    return images, labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def kernel(*shape):
    return np.random.default_rng(0).normal(size=shape)


def curves(*args, **kwargs):
    return lambda path: pictures.learning_curves(run(*args, **kwargs), path)


def matrix(classes, names, n=400):
    return lambda path: pictures.confusion_matrix(*labelled(classes, n), names[:classes], path)


def errors(wrong, classes, names, **kwargs):
    return lambda path: pictures.confident_errors(*mistaken(wrong, classes, **kwargs), names[:classes], path)


def filters(*shape):
    return lambda path: pictures.first_layer_filters(kernel(*shape), path)


PICTURES = {
    "curves of 3 rows": curves(1, 1),
    "curves of 1000 rows and drops": curves(1000, 40, rates=(0.1, 0.01, 0.001), floor=0.0),
    "curves with zeros and a smooth rate": curves(60, rates=np.linspace(0.1, 0, 60)),
    "curves of tiny numbers": lambda path: pictures.learning_curves(
        [row(i, s, 1.23e-5 * 0.9**i, 1e-6 * i, 1e-7 / i) for s in ("train", "validation") for i in range(1, 30)], path
    ),
    "curves that are flat": lambda path: pictures.learning_curves(
        [row(i, s, 2.3026, 0.9) for s in ("train", "validation", "test") for i in (1, 2)], path
    ),
    "curves of 5 seeds": lambda path: pictures.learning_curves_of_seeds([run(40, seed=s) for s in range(5)], path),
    "matrix of 2": matrix(2, SHORT),
    "matrix of 2 long": matrix(2, LONG),
    "matrix of 10": matrix(10, SHORT),
    "matrix of 10 wide": matrix(10, WIDE),
    "matrix of 20 and large counts": matrix(20, LONG, n=300_000),
    "matrix of 21": matrix(21, SHORT),
    "matrix of 100": matrix(100, SHORT),
    "matrix of 100 long": matrix(100, LONG),
    "no error": errors(0, 10, SHORT),
    "1 error": errors(1, 2, SHORT),
    "1 error long": errors(1, 100, LONG),
    "6 errors of photographs": errors(6, 10, SHORT, size=224, channels=3),
    "25 errors": errors(25, 10, SHORT),
    "25 errors of middling names": errors(25, 10, [f"automobile {i}" for i in range(10)]),
    "25 errors wide": errors(25, 10, WIDE),
    "30 errors long": errors(30, 100, LONG, channels=3),
    "6 filters": filters(5, 5, 1, 6),
    "1 filter": filters(3, 3, 1, 1),
    "96 filters": filters(11, 11, 3, 96),
    "64 filters of 16 channels": filters(3, 3, 16, 64),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_lie_inside_and_apart(name, drawn, tmp_path):
    path = PICTURES[name](tmp_path / "picture.png")
    shown = pixels(path)
    height, width = shown.shape[:2]
    assert path == tmp_path / "picture.png" and 150 <= width <= 1000 and 100 <= height <= 1650
    assert (width, height) == drawn.figure.canvas.get_width_height()
    assert shown.min() < 100 and (shown[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert drawn.texts
    for text, box in drawn.texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (a, one), (b, two) in itertools.combinations(drawn.texts, 2):
        across = min(one.x1, two.x1) - max(one.x0, two.x0)
        along = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert across <= 0.5 or along <= 0.5, (a, b)
    for image in drawn.figure.axes[0].images:
        frame = image.get_window_extent()
        assert not any(frame.overlaps(box) for _, box in drawn.texts)


def test_curves_draw_the_rows_and_name_the_last_evaluation(drawn, tmp_path):
    rows = [row(10, "train", 2.0, 0.8), row(20, "train", 1.0, 0.5), row(30, "train", 0.5, 0.3)]
    rows += [row(15, "test", 1.5, 0.6), row(30, "test", 0.75, 0.0083)]
    pictures.learning_curves(rows, tmp_path / "a.png")
    loss, error = drawn.panels
    lines = [[np.asarray(line.get_data()) for line in panel.get_lines()] for panel in (loss, error)]
    np.testing.assert_allclose(lines[0][0], [[1, 2, 3], [2.0, 1.0, 0.5]])
    np.testing.assert_allclose(lines[0][1], [[1.5, 3], [1.5, 0.75]])
    np.testing.assert_allclose(lines[1][0], [[1, 2, 3], [80, 50, 30]])
    np.testing.assert_allclose(lines[1][1], [[1.5, 3], [60, 0.83]])
    for panel, word, value in ((loss, "test 0.75", 0.75), (error, "test 0.83 %", 0.83)):
        box = drawn.box(word)
        assert box.x0 > panel.bbox.x1
        assert abs((box.y0 + box.y1) / 2 - panel.transData.transform((3, value))[1]) < 12
    tones = [lightness(matplotlib.colors.to_rgb(line.get_color())) for line in loss.get_lines()]
    assert abs(tones[0] - tones[1]) > 0.1


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 9.9], "linear"),
        ([1.0, 10.1], "log"),
        ([0.0, 1.0, 10.1], "symlog"),
        ([0.0, 1.0, 9.9], "linear"),
        ([0.0, 0.0], "linear"),
        ([math.nan, 1.0, 10.1], "log"),
        ([None, 1.0, math.inf], "linear"),
        ([math.nan, math.nan], "linear"),
    ],
)
def test_scale_is_logarithmic_beyond_a_decade(values, scale, drawn, tmp_path):
    pictures.learning_curves([row(i, "train", v, 0.5) for i, v in enumerate(values)], tmp_path / "a.png")
    assert drawn.panels[0].get_yscale() == scale


@settings(max_examples=8, deadline=None)
@example([0.0, 1e-9, 1e9])
@example([2.3025, 2.3026])
@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e9)), min_size=1, max_size=6))
def test_every_value_is_inside_its_panel_and_ticks_stand_apart(tmp_path_factory, values):
    with pytest.MonkeyPatch.context() as patch:
        drawn = watch(patch)
        path = tmp_path_factory.mktemp("curve") / "a.png"
        pictures.learning_curves([row(i, "validation", v, 0.5) for i, v in enumerate(values)], path)
    panel = drawn.panels[0]
    (line,) = panel.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), values)
    heights = panel.transData.transform(np.column_stack([line.get_xdata(), values]))[:, 1]
    assert (heights >= panel.bbox.y0).all() and (heights <= panel.bbox.y1).all()
    ticks = [box for text, box in drawn.texts if box.x1 < panel.bbox.x0 and panel.bbox.y0 - 9 < box.y0 < panel.bbox.y1]
    bottoms = sorted(ticks, key=lambda box: box.y0)
    assert 1 <= len(ticks) <= 12
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(bottoms))


@pytest.mark.parametrize("last", [0.1, 1.0, 9.0])
def test_labels_of_curves_that_end_together_stay_beside_their_panel(last, drawn, tmp_path):
    rows = [
        row(i, split, v, v / 10) for split in ("train", "validation", "test") for i, v in enumerate([0.1, 9.0, last])
    ]
    pictures.learning_curves(rows, tmp_path / "a.png")
    loss = drawn.panels[0].bbox
    words = ("train", f"validation {last:g}", f"test {last:g}")
    boxes = sorted((box for word, box in drawn.texts if word in words and box.y1 > loss.y0), key=lambda box: box.y0)
    assert len(boxes) == 3
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))
    assert boxes[0].y0 >= loss.y0 - 1 and boxes[-1].y1 <= loss.y1 + 1


def test_rate_has_a_strip_only_where_it_changes(drawn, tmp_path):
    pictures.learning_curves(run(30), tmp_path / "a.png")
    assert len(drawn.panels) == 2 and "Learning rate" not in drawn.words
    rates = (0.1, 0.01, 0.001)
    pictures.learning_curves(run(30, rates=rates), tmp_path / "b.png")
    strip = drawn.panels[2]
    np.testing.assert_allclose(strip.get_lines()[0].get_ydata(), np.repeat(rates, 10))
    assert strip.get_yscale() == "log" and {"0.1", "0.01", "0.001"} <= set(drawn.words)
    pictures.learning_curves(run(30, rates=np.linspace(0.1, 0, 30)), tmp_path / "c.png")
    assert drawn.panels[2].get_yscale() == "linear"


def test_seeds_are_averaged_where_all_have_logged(drawn, tmp_path):
    losses = np.array([[3.0, 2.0, 1.0], [5.0, 2.5, 0.5], [1.0, 3.0, 0.9]])
    runs = [[row(10 * i, "test", v, v / 10) for i, v in enumerate(seed)] for seed in losses]
    runs[1].insert(1, row(5, "test", 100.0, 1.0))
    runs[2].append(row(40, "test", 100.0, 1.0))
    runs[0].reverse()
    pictures.learning_curves_of_seeds(runs, tmp_path / "a.png")
    loss, error = drawn.panels
    epochs, mean = loss.get_lines()[0].get_data()
    np.testing.assert_allclose(epochs, [0, 1, 2])
    np.testing.assert_allclose(mean, [3.0, 2.5, 0.8])
    corners = loss.collections[0].get_paths()[0].vertices
    for epoch, low, high in zip(epochs, losses.min(axis=0), losses.max(axis=0), strict=True):
        edge = corners[corners[:, 0] == epoch, 1]
        assert (edge.min(), edge.max()) == (low, high)
    assert "test 0.8\n0.5 to 1" in drawn.words and "test 8.00 %\n5.00 to 10.00" in drawn.words
    assert len(error.collections) == 1
    pictures.learning_curves(runs[0], tmp_path / "b.png")
    assert not drawn.panels[0].collections and "test 1" in drawn.words


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_confusions_equal_sklearns(pairs):
    labels, predictions = np.array(pairs).T
    counts = pictures.count_confusions(labels, predictions, 4)
    np.testing.assert_array_equal(counts, sklearn_confusions(labels, predictions, labels=range(4)))


def test_confusions_of_small_integers_do_not_wrap():
    labels = np.array([99, 99, 0], np.uint8)
    counts = pictures.count_confusions(labels, labels[::-1].copy(), 100)
    assert counts[99, 0] == counts[0, 99] == counts[99, 99] == 1 and counts.sum() == 3


def test_matrix_writes_counts_and_recalls_in_their_places(drawn, tmp_path):
    counts = np.array([[40, 2, 0], [0, 0, 0], [1, 0, 7]])
    labels, predictions = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T
    pictures.confusion_matrix(labels, predictions, ["cat", "$dog_{$", "bird"], tmp_path / "a.png")
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
def test_one_error_in_a_thousand_shows_beside_the_diagonal(classes, drawn, tmp_path):
    labels = np.repeat(np.arange(classes), 1000)
    predictions = labels.copy()
    predictions[3000] = 7
    predictions[5000:5020] = 2
    shown = pixels(pictures.confusion_matrix(labels, predictions, SHORT[:classes], tmp_path / "a.png"))

    def colour(true, predicted):
        # Off the middle of the cell, where the count stands.
        x, y = drawn.panels[0].transData.transform((predicted - 0.35, true - 0.35))
        return shown[shown.shape[0] - 1 - int(y), int(x)]

    assert (colour(7, 3) == 255).all()
    assert lightness(colour(5, 2)) < lightness(colour(3, 7)) - 40
    assert lightness(colour(3, 7)) < 235 and colour(3, 7)[0] > colour(3, 7)[2] + 40
    assert lightness(colour(3, 3)) < 120 and colour(3, 3)[2] > colour(3, 3)[0] + 40


def test_recall_bars_of_many_classes(drawn, tmp_path):
    labels, predictions = labelled(50, n=2000, accuracy=0.7)
    pictures.confusion_matrix(labels, predictions, SHORT[:50], tmp_path / "a.png")
    (bars,) = drawn.panels[1].patches
    expected = [(predictions[labels == i] == i).mean() for i in range(50)]
    np.testing.assert_allclose(bars.get_data().values, expected)


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
    assert pictures.most_confident_errors(labels, probabilities, most).tolist() == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_errors_show_the_pixels_enlarged_and_unsmoothed(channels, drawn, tmp_path):
    images, labels, probabilities = mistaken(3, 10, size=28, channels=channels)
    path = pictures.confident_errors(images, labels, probabilities, SHORT[:10], tmp_path / "a.png", most=2)
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


def test_floats_are_stretched_only_where_they_leave_the_unit_interval(drawn, tmp_path):
    images, labels, probabilities = mistaken(4, 10)
    grey = images / 510.0
    pictures.confident_errors(grey, labels, probabilities, SHORT[:10], tmp_path / "a.png")
    shown = np.stack([image.get_array() for image in drawn.figure.axes[0].images])
    assert shown.max() <= 0.5
    pictures.confident_errors(5 * grey - 1, labels, probabilities, SHORT[:10], tmp_path / "b.png")
    stretched = np.stack([image.get_array() for image in drawn.figure.axes[0].images])
    assert (stretched.min(), stretched.max()) == (0, 1)
    np.testing.assert_allclose(stretched, (shown - shown.min()) / np.ptp(shown), atol=1e-6)


def test_images_of_other_channel_counts_show_the_first(drawn, tmp_path):
    images, labels, probabilities = mistaken(1, 10, channels=4)
    pictures.confident_errors(images, labels, probabilities, SHORT[:10], tmp_path / "a.png")
    np.testing.assert_allclose(drawn.figure.axes[0].images[0].get_array(), images[0, ..., 0] / 255, atol=1e-6)


def test_a_run_without_errors_says_so(drawn, tmp_path):
    errors(0, 10, SHORT)(tmp_path / "a.png")
    assert drawn.words == ["No errors, n = 60"]


def test_names_with_dollar_signs_are_no_formulas(drawn, tmp_path):
    errors(1, 2, [r"$\bad", "$y_"])(tmp_path / "a.png")
    assert any(word.startswith(r"$\bad → $y_, 0.") for word in drawn.words)


def test_names_that_do_not_fit_end_in_an_ellipsis(drawn, tmp_path):
    errors(2, 2, ["cat", "M" * 60])(tmp_path / "a.png")
    assert any("M…" in word for word in drawn.words) and not any("M" * 60 in word for word in drawn.words)
    errors(2, 2, ["cat", "great  crested\nwoodpecker"])(tmp_path / "b.png")
    assert any("great crested woodpecker" in word for word in drawn.words)


def test_rgb_filters_are_stretched_one_by_one(drawn, tmp_path):
    weights = kernel(5, 5, 3, 7) * np.arange(7)
    shown = pixels(pictures.first_layer_filters(weights, tmp_path / "a.png"))
    tiles = drawn.figure.axes[0].images
    assert len(tiles) == 7
    for i in range(1, 7):
        own = weights[..., i]
        expected = 255 * (own - own.min()) / (own.max() - own.min())
        box = tiles[i].get_window_extent()
        left, top, size = round(box.x0), round(shown.shape[0] - box.y1), round(box.width)
        tile = shown[top : top + size, left : left + size]
        assert np.abs(tile - expected.repeat(size // 5, axis=0).repeat(size // 5, axis=1)).max() <= 1


def test_filters_of_one_channel_share_a_scale_that_greyscale_keeps(drawn, tmp_path):
    ramp = np.linspace(-2, 2, 9).reshape(1, 9, 1, 1) * np.array([1.0, 0.5])
    shown = pixels(pictures.first_layer_filters(ramp, tmp_path / "a.png"))
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


def test_other_kernels_show_channels_in_rows(drawn, tmp_path):
    weights = kernel(3, 3, 9, 20)
    pictures.first_layer_filters(weights, tmp_path / "a.png")
    tiles = drawn.figure.axes[0].images
    assert len(tiles) == 8 * 16
    np.testing.assert_allclose(tiles[0].get_array(), weights[:, :, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(tiles[16 + 3].get_array(), weights[:, :, 1, 3], rtol=1e-6)
    boxes = [tiles[i].get_window_extent() for i in (0, 3, 19)]
    assert boxes[1].y0 == boxes[0].y0 and boxes[2].y0 < boxes[1].y0 and abs(boxes[2].x0 - boxes[1].x0) < 0.01


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (3, 3, 3, 4)])
def test_constant_filters_are_drawn(shape, tmp_path):
    assert pictures.first_layer_filters(np.zeros(shape), tmp_path / "a.png").stat().st_size


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: pictures.learning_curves([], p), "share no logged step"),
        (lambda p: pictures.learning_curves_of_seeds([], p), "share no logged step"),
        (
            lambda p: pictures.learning_curves_of_seeds([[row(1, "test", 1, 0)], [row(2, "test", 1, 0)]], p),
            "2 runs",
        ),
        (lambda p: pictures.confusion_matrix([0, 1], [0], SHORT, p), r"labels \(2,\) and predictions \(1,\)"),
        (lambda p: pictures.confusion_matrix([], [], SHORT, p), "at least 1"),
        (lambda p: pictures.confusion_matrix([0, 1], [0, 2], SHORT[:2], p), "predictions run from 0 to 2"),
        (lambda p: pictures.confusion_matrix([0, -1], [0, 1], SHORT[:2], p), "labels run from -1 to 0"),
        (lambda p: pictures.confident_errors(np.zeros((2, 4, 4)), [0, 1], np.eye(2), SHORT[:2], p), "images are"),
        (lambda p: pictures.confident_errors(np.zeros((2, 4, 4, 1)), [0, 1], np.eye(2), SHORT, p), "100 names"),
        (
            lambda p: pictures.confident_errors(np.zeros((2, 4, 4, 1)), [0], np.eye(2), SHORT[:2], p),
            "probabilities are",
        ),
        (lambda p: pictures.confident_errors(np.zeros((2, 4, 4, 1)), [0, 1], np.eye(2), SHORT[:2], p, 0), "most is 0"),
        (lambda p: pictures.first_layer_filters(np.zeros((8, 8)), p), r"kernel is \(8, 8\)"),
    ],
)
def test_unusable_input_is_named_and_nothing_written(draw, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_failed_drawing_leaves_the_old_picture_and_nothing_else(monkeypatch, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(canvas, file, **kwargs):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", fail)
    with pytest.raises(OSError, match="disk full"):
        filters(3, 3, 1, 1)(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_picture_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    filters(3, 3, 1, 1)(str(path))
    assert pixels(path).size and list(tmp_path.iterdir()) == [path]


SETTINGS = {
    "axes.edgecolor": "white",
    "axes.facecolor": "black",
    "axes.grid": True,
    "axes.linewidth": 5,
    "axes.spines.left": False,
    "axes.xmargin": 0.4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 50,
    "figure.facecolor": "black",
    "font.family": "serif",
    "font.size": 20,
    "grid.linestyle": ":",
    "image.cmap": "jet",
    "image.interpolation": "bicubic",
    "image.origin": "lower",
    "lines.linestyle": ":",
    "lines.linewidth": 5,
    "savefig.dpi": 300,
    "text.color": "white",
    "xtick.direction": "in",
    "xtick.labelsize": 20,
    "xtick.top": True,
    "ytick.color": "white",
}


@pytest.mark.parametrize("name", ["curves with zeros and a smooth rate", "matrix of 21", "matrix of 2", "6 filters"])
def test_pictures_ignore_and_keep_the_settings_of_matplotlib(name, tmp_path):
    plain = PICTURES[name](tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context(SETTINGS):
        before = dict(matplotlib.rcParams)
        styled = PICTURES[name](tmp_path / "styled.png").read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert styled == plain


def test_threads_draw_the_same_pictures(tmp_path):
    names = ["curves of 3 rows", "matrix of 10", "1 error", "6 filters"]
    alone = [PICTURES[name](tmp_path / f"alone {name}").read_bytes() for name in names]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda name: PICTURES[name](tmp_path / name).read_bytes(), names))
    assert together == alone


def test_matplotlib_is_imported_when_used_and_pyplot_never(tmp_path):
    script = """
import json, sys
from jaxcnn import pictures
before = "matplotlib" in sys.modules
pictures.first_layer_filters([[[[1.0]]]], sys.argv[1])
pictures.confusion_matrix([0, 1], [0, 1], ["a", "b"], sys.argv[1])
print(json.dumps([before, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, True, False]
