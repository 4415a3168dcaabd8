import itertools
import math

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import plots
from jaxcnn.plots.sweeps import COLOURS
from jaxcnn.plots.words import text_width, wrapped
from jaxcnn.runtime.errors import InputError
from tests.plots.drawn import lightness, watch

VALUES = st.one_of(st.just(0.0), st.floats(1e-9, 1e6))
LONG = "BatchNorm(momentum=0.99, epsilon=0.001, unbiased=true, fast_variance=false), learning_rate=0.0316"
WORDS = {"title": "Test error by model.norm: batch is best with 1.20 %", "subtitle": "dots", "axis": "test error, %"}
CURVES = {"title": "Learning curves", "split": "test", "quantity": "error"}
RESPONSE = {"title": "Test error: 0.1 is best", "axis": "Test error, %"}


def arm(label, *values, spread=0.1, position=0.0, **rest):
    mean = float(np.mean(values)) if values else None
    interval = (mean - spread, mean + spread) if len(values) > 1 else None
    return plots.Arm(label, values, mean, interval, position=position, **rest)


def rows(final, *, epochs=4, split="test"):
    """Return rows of a run whose loss falls to `final`."""
    found = []
    for i in range(1, epochs + 1):
        for part in ("train", split):
            loss = final * (1 + epochs - i)
            found.append({"step": 10 * i, "epoch": i, "split": part, "loss": loss, "accuracy": 1 - loss / 10})
    return found


def line(label_count, *, arms=5, **rest):
    return {
        f"line {i}": [arm("", i + j, i + j + 0.5, position=10.0**j, **rest) for j in range(1, arms + 1)]
        for i in range(label_count)
    }


PICTURES = {
    "strip": lambda path: plots.strip_plot([arm(f"arm {i}", i, i + 1, i + 2) for i in range(4)], path, **WORDS),
    "strip of long texts": lambda path: plots.strip_plot(
        [arm(LONG * n, n, note="12 diverged, 3 failed, 10 unfinished") for n in (1, 2)],
        path,
        title=LONG * 3,
        subtitle=LONG * 4,
        axis="test error, %",
    ),
    "strip of a word without blanks": lambda path: plots.strip_plot([arm("x" * 200, 1.0)], path, **WORDS),
    "strip of 30 arms and decades": lambda path: plots.strip_plot(
        [arm(f"arm {i}", 1.5**i, 1.6**i) for i in range(30)], path, **WORDS
    ),
    "strip of equal values": lambda path: plots.strip_plot([arm("a", 2.0, 2.0), arm("b", 2.0, 2.0)], path, **WORDS),
    "strip of zeros": lambda path: plots.strip_plot([arm("a", 0.0, 0.0), arm("none")], path, **WORDS),
    "curves of 7 arms": lambda path: plots.learning_curves_of_arms(
        {f"arm {i}": [rows(i + 1), rows(i + 2)] for i in range(7)}, path, **CURVES
    ),
    "curves of long labels": lambda path: plots.learning_curves_of_arms(
        {LONG: [rows(1)], LONG * 2: [rows(1.01)]}, path, **CURVES
    ),
    "curves of 7 long labels": lambda path: plots.learning_curves_of_arms(
        {f"{i} {LONG}": [rows(1)] for i in range(7)}, path, **CURVES
    ),
    "curves of one epoch": lambda path: plots.learning_curves_of_arms({"a": [rows(1, epochs=1)]}, path, **CURVES),
    "response": lambda path: plots.response_curves({"optimizer.learning_rate": line(1)}, path, **RESPONSE),
    "response of 7 lines": lambda path: plots.response_curves({"rate": line(7, diverged=True)}, path, **RESPONSE),
    "responses without lines": lambda path: plots.response_curves(
        {name: {"": [arm("", i % 7 + 1.0, position=math.exp(i / 3)) for i in range(30)]} for name in ("a", "b")},
        path,
        connected=False,
        **RESPONSE,
    ),
    "response of long labels": lambda path: plots.response_curves(
        {"model.norm.momentum": {LONG: line(1)["line 0"], LONG * 2: line(1)["line 0"]}}, path, **RESPONSE
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_picture_and_do_not_overlap(name, drawn, tmp_path):
    path = PICTURES[name](tmp_path / "picture.png")
    assert path == tmp_path / "picture.png"
    drawn.check_layout(path)


def data(panel):
    return [np.asarray(line.get_data()) for line in panel.get_lines()]


def test_a_strip_has_a_dot_for_every_run_and_the_mean_with_its_interval(drawn, tmp_path):
    arms = [arm("best", 1.0, 2.0, spread=0.5), arm("worst", 3.0, 4.0, 5.0, spread=1.5, note="1 diverged"), arm("gone")]
    plots.strip_plot(arms, tmp_path / "a.png", **WORDS)
    (panel,) = drawn.panels
    dots = [line for line in panel.get_lines() if line.get_marker() == "o"]
    assert [[*line.get_xdata()] for line in dots] == [[1, 2], [3, 4, 5], []]
    spans = [xy[0].tolist() for xy in data(panel)]
    assert [1.5, 1.5] in spans and [1.0, 2.0] in spans and [4.0, 4.0] in spans and [2.5, 5.5] in spans
    heights = [drawn.box(label).y0 for label in ("best", "worst", "gone")]
    assert heights == sorted(heights, reverse=True)
    row, mean = drawn.box("best"), drawn.box("1.50  ")
    assert row.x1 < panel.bbox.x0 and mean.x0 > panel.bbox.x1 and abs(row.y0 - mean.y0) < 6
    assert drawn.box("1 diverged").x0 > panel.bbox.x1


def test_the_mean_of_the_baseline_crosses_all_arms(drawn, tmp_path):
    plots.strip_plot([arm("a", 1.0, 2.0), arm("b", 2.0, 3.0)], tmp_path / "a.png", baseline="b", **WORDS)
    (panel,) = drawn.panels
    (across,) = [line for line in panel.get_lines() if [*line.get_ydata()] == [0, 1]]
    assert [*across.get_xdata()] == [2.5, 2.5]


def test_an_interval_far_beyond_the_dots_ends_in_arrows(drawn, tmp_path):
    arms = [arm("a", 50.0, 51.0, spread=1e4), arm("b", 52.0, 53.0, spread=0.1)]
    plots.strip_plot(arms, tmp_path / "a.png", **WORDS)
    (panel,) = drawn.panels
    left, right = panel.get_xlim()
    assert 46 < left < 48 and 55 < right < 57
    arrows = {line.get_marker(): line.get_xdata()[0] for line in panel.get_lines() if line.get_marker() in "<>"}
    assert arrows == {"<": left, ">": right}


def test_an_axis_of_errors_does_not_go_below_zero(drawn, tmp_path):
    plots.strip_plot([arm("a", 1.0, 1.5, spread=9.0)], tmp_path / "a.png", **WORDS)
    left, right = drawn.panels[0].get_xlim()
    assert -0.2 < left < 0.51 and right < 3


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(VALUES, max_size=3), min_size=1, max_size=4).filter(any), VALUES)
def test_every_run_is_inside_the_panel(tmp_path_factory, values, spread):
    with pytest.MonkeyPatch.context() as patch:
        drawn = watch(patch)
        path = tmp_path_factory.mktemp("strip") / "a.png"
        plots.strip_plot([arm(str(i), *each, spread=spread) for i, each in enumerate(values)], path, **WORDS)
        drawn.check_layout(path)
    (panel,) = drawn.panels
    left, right = panel.get_xlim()
    assert all(left <= value <= right for value in itertools.chain(*values))


def test_curves_are_the_mean_and_range_over_seeds(drawn, tmp_path):
    arms = {"best": [rows(1), rows(2), rows(3)], "worst": [rows(4)]}
    plots.learning_curves_of_arms(arms, tmp_path / "a.png", **CURVES)
    loss, error = drawn.panels
    assert {"Training loss", "Test error, %", "epoch"} <= {*drawn.words}
    worst, best = data(loss)
    np.testing.assert_allclose(best, [[1, 2, 3, 4], [8, 6, 4, 2]])
    np.testing.assert_allclose(worst, [[1, 2, 3, 4], [16, 12, 8, 4]])
    np.testing.assert_allclose(data(error)[1], [[1, 2, 3, 4], [80, 60, 40, 20]])
    corners = loss.collections[0].get_paths()[0].vertices
    assert {*corners[corners[:, 0] == 4, 1]} == {1, 3}
    labels = {text: box for text, box in drawn.texts if text in arms and box.y0 > loss.bbox.y0}
    assert labels["worst"].y0 > labels["best"].y0 and labels["best"].x0 > loss.bbox.x1


def test_curves_show_the_split_that_was_evaluated_and_the_loss_if_asked(drawn, tmp_path):
    arms = {"a": [rows(1, split="validation")]}
    plots.learning_curves_of_arms(arms, tmp_path / "a.png", title="", split="test", quantity="loss")
    assert "Validation loss" in drawn.words
    np.testing.assert_allclose(data(drawn.panels[1])[0][1], [4, 3, 2, 1])


def test_curves_without_rows_are_not_drawn(tmp_path):
    assert plots.learning_curves_of_arms({"a": [[]], "b": []}, tmp_path / "a.png", **CURVES) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("positions", "scale"),
    [((1, 2, 9), "linear"), ((0.1, 0.5, 1), "log"), ((0, 0.01, 1), "symlog"), ((3, 3), "linear")],
)
def test_the_axis_of_a_setting_is_logarithmic_if_its_values_span_a_factor_of_ten(positions, scale, drawn, tmp_path):
    line = [arm("", 1.0 + i, position=x) for i, x in enumerate(positions)]
    plots.response_curves({"x": {"": line}}, tmp_path / "a.png", **RESPONSE)
    assert drawn.panels[0].get_xscale() == scale
    assert {f"{x:g}" for x in positions} <= {*drawn.words}


def test_a_response_has_dots_a_mean_and_a_band(drawn, tmp_path):
    line = [arm("", 1.0, 3.0, position=1.0, spread=0.5), arm("", 2.0, 3.0, position=0.1, spread=0.25)]
    plots.response_curves({"rate": {"": line}}, tmp_path / "a.png", **RESPONSE)
    (panel,) = drawn.panels
    np.testing.assert_allclose(data(panel)[-1], [[0.1, 1], [2.5, 2]])
    corners = panel.collections[0].get_paths()[0].vertices
    assert {*corners[corners[:, 0] == 0.1, 1]} == {2.25, 2.75} and {*corners[corners[:, 0] == 1, 1]} == {1.5, 2.5}
    assert sorted(np.concatenate([xy[1] for xy in data(panel)[:-1]])) == [1, 2, 3, 3]


def test_settings_that_were_drawn_at_random_are_dots_only(drawn, tmp_path):
    panels = {name: {"": [arm("", 1.0, 2.0, position=x) for x in (1.0, 5.0, 7.0)]} for name in ("a", "b")}
    plots.response_curves(panels, tmp_path / "a.png", connected=False, **RESPONSE)
    for panel in drawn.panels:
        assert {line.get_marker() for line in panel.get_lines()} == {"o"} and not panel.collections
    assert {"a", "b"} <= {*drawn.words}


@pytest.mark.parametrize(("worse", "edge"), [("up", "y1"), ("down", "y0")])
def test_diverged_runs_are_crosses_at_the_worse_edge(worse, edge, drawn, tmp_path):
    lines = {
        "a": [arm("", 1.0, position=1.0), arm("", position=2.0, diverged=True, note="2 diverged")],
        "b": [arm("", 1.5, position=1.0), arm("", 1.0, position=2.0, diverged=True)],
    }
    plots.response_curves({"x": lines}, tmp_path / "a.png", worse=worse, **RESPONSE)
    (panel,) = drawn.panels
    crosses = [line for line in panel.get_lines() if line.get_marker() == "X"]
    assert {line.get_color() for line in crosses} == {*COLOURS[:2]}
    places = [panel.transAxes.transform(np.ravel(line.get_data())) for line in crosses]
    at_two = panel.transData.transform((2.0, 1.0))[0]
    np.testing.assert_allclose([y for _, y in places], getattr(panel.bbox, edge))
    np.testing.assert_allclose(sorted(x - at_two for x, _ in places), [-6, 6], atol=1e-6)
    assert any("crosses: diverged runs" in word for word in drawn.words)


def test_neighbouring_colours_differ_in_lightness():
    tones = [lightness(matplotlib.colors.to_rgb(colour)) for colour in COLOURS]
    assert all(abs(a - b) > 0.08 for a, b in itertools.pairwise(tones))


@given(st.text("ab, =", max_size=80), st.integers(40, 200))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(text, room):
    lines = wrapped(text, room, 9.0)
    assert all(text_width(line, 9.0) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_picture_without_a_value_is_refused(tmp_path):
    with pytest.raises(InputError, match="no arm has a value"):
        plots.strip_plot([arm("a"), arm("b")], tmp_path / "a.png", **WORDS)
    assert not list(tmp_path.iterdir())
