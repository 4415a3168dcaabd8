import itertools
import math

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxcnn import plots
from jaxcnn.runtime.errors import InputError
from tests.plots.drawn import lightness, watch


def row(step, split, loss, error, rate=0.1):
    extra = {"learning_rate": rate} if split == "train" else {"error": error}
    return {"step": step, "epoch": step / 10, "split": split, "loss": loss, "accuracy": 1 - error, **extra, "time": {}}


def run(train, evaluated=20, *, split="validation", seed=0, floor=0.01, rates=(0.1,)):
    """Return rows of a run whose loss and error decrease, with a test row at the end."""
    noise = np.random.default_rng(seed)
    rows = []
    for part, count in (("train", train), (split, evaluated)):
        for i in range(1, count + 1):
            fall = math.exp(-6 * i / count) * math.exp(0.2 * noise.normal())
            rate = rates[(i - 1) * len(rates) // count]
            rows.append(row(i * 1200 // count, part, 2.3 * fall + 1e-3, max(0.0, min(1, 0.9 * fall) - floor), rate))
    return [*rows, row(1200, "test", 0.0123, 0.0083)]


def curves(*args, **kwargs):
    return lambda path: plots.learning_curves(run(*args, **kwargs), path)


PICTURES = {
    "curves of 3 rows": curves(1, 1),
    "curves of 1000 rows and drops": curves(1000, 40, rates=(0.1, 0.01, 0.001), floor=0.0),
    "curves with zeros and a smooth rate": curves(60, rates=np.linspace(0.1, 0, 60)),
    "curves of tiny numbers": lambda path: plots.learning_curves(
        [row(i, s, 1.23e-5 * 0.9**i, 1e-6 * i, 1e-7 / i) for s in ("train", "validation") for i in range(1, 30)], path
    ),
    "curves that are flat": lambda path: plots.learning_curves(
        [row(i, s, 2.3026, 0.9) for s in ("train", "validation", "test") for i in (1, 2)], path
    ),
    "curves of 5 seeds": lambda path: plots.learning_curves_of_seeds([run(40, seed=s) for s in range(5)], path),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_picture_and_do_not_overlap(name, drawn, tmp_path):
    path = PICTURES[name](tmp_path / "picture.png")
    assert path == tmp_path / "picture.png"
    drawn.check_layout(path)


def test_curves_draw_the_rows_and_label_the_last_evaluation(drawn, tmp_path):
    rows = [row(10, "train", 2.0, 0.8), row(20, "train", 1.0, 0.5), row(30, "train", 0.5, 0.3)]
    rows += [row(15, "test", 1.5, 0.6), row(30, "test", 0.75, 0.0083)]
    plots.learning_curves(rows, tmp_path / "a.png")
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
    plots.learning_curves([row(i, "train", v, 0.5) for i, v in enumerate(values)], tmp_path / "a.png")
    assert drawn.panels[0].get_yscale() == scale


@settings(max_examples=8, deadline=None)
@example([0.0, 1e-9, 1e9])
@example([2.3025, 2.3026])
@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e9)), min_size=1, max_size=6))
def test_values_are_inside_their_panel_and_ticks_do_not_overlap(tmp_path_factory, values):
    with pytest.MonkeyPatch.context() as patch:
        drawn = watch(patch)
        path = tmp_path_factory.mktemp("curve") / "a.png"
        plots.learning_curves([row(i, "validation", v, 0.5) for i, v in enumerate(values)], path)
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
    plots.learning_curves(rows, tmp_path / "a.png")
    loss = drawn.panels[0].bbox
    words = ("train", f"validation {last:g}", f"test {last:g}")
    boxes = sorted((box for word, box in drawn.texts if word in words and box.y1 > loss.y0), key=lambda box: box.y0)
    assert len(boxes) == 3
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))
    assert boxes[0].y0 >= loss.y0 - 1 and boxes[-1].y1 <= loss.y1 + 1


def test_the_learning_rate_is_drawn_only_if_it_changes(drawn, tmp_path):
    plots.learning_curves(run(30), tmp_path / "a.png")
    assert len(drawn.panels) == 2 and "Learning rate" not in drawn.words
    rates = (0.1, 0.01, 0.001)
    plots.learning_curves(run(30, rates=rates), tmp_path / "b.png")
    strip = drawn.panels[2]
    np.testing.assert_allclose(strip.get_lines()[0].get_ydata(), np.repeat(rates, 10))
    assert strip.get_yscale() == "log" and {"0.1", "0.01", "0.001"} <= set(drawn.words)
    plots.learning_curves(run(30, rates=np.linspace(0.1, 0, 30)), tmp_path / "c.png")
    assert drawn.panels[2].get_yscale() == "linear"


def test_seeds_are_averaged_over_the_steps_that_all_have_logged(drawn, tmp_path):
    losses = np.array([[3.0, 2.0, 1.0], [5.0, 2.5, 0.5], [1.0, 3.0, 0.9]])
    runs = [[row(10 * i, "test", v, v / 10) for i, v in enumerate(seed)] for seed in losses]
    runs[1].insert(1, row(5, "test", 100.0, 1.0))
    runs[2].append(row(40, "test", 100.0, 1.0))
    runs[0].reverse()
    plots.learning_curves_of_seeds(runs, tmp_path / "a.png")
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
    plots.learning_curves(runs[0], tmp_path / "b.png")
    assert not drawn.panels[0].collections and "test 1" in drawn.words


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: plots.learning_curves([], p), "share no logged step"),
        (lambda p: plots.learning_curves_of_seeds([], p), "share no logged step"),
        (
            lambda p: plots.learning_curves_of_seeds([[row(1, "test", 1, 0)], [row(2, "test", 1, 0)]], p),
            "2 runs",
        ),
    ],
)
def test_invalid_input_raises_an_error_and_writes_nothing(draw, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
