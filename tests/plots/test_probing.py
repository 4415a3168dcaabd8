"""The pictures of the probes: what their titles say, and that their texts are on the page and apart."""

import itertools

import numpy as np
import pytest

from jaxcnn.plots.figures import COLUMN, draw_figures, figure_page
from jaxcnn.plots.probing import probe_figures
from tests.plots.drawn import pixels, watch
from tests.probes.records import landscape, layer, record, shift

DYING = tuple(10.0 ** np.arange(-19, 1))
"""Deviations of 20 layers: each layer has ten times that of the one before."""


def full(stds=DYING, label="as it is", smooth=0.2):
    others = {
        "act1": layer(1.0, kernel=False, saturated=[0.1, 0.5, 0.97]),
        "block1/relu_with_a_long_name": layer(
            1.0, kernel=False, active=np.array([[0, 1]] * 3), inactive=np.full(3, 0.5)
        ),
    }
    readings = {
        "ics": shift({f"fc{i}": -0.5 if i == 7 else 0.9 for i in range(1, 21)}),
        "drift": {"layers": {"fc1": {"distance": np.full(3, 0.01)}, "fc2": {"distance": np.full(3, 0.2)}}},
        "landscape": landscape(smooth),
        "hessian": {"eigenvalue": np.array([3.0, 4.0, 5.0]), "residual": np.full(3, 0.1)},
        "lags": {"layers": {"rnn": np.tile(0.5 ** np.arange(20, 0, -1), (3, 1))}},
    }
    return record(stds, label=label, others=others, readings=readings)


TITLES = {
    "gradients0": "The gradient dies here: 10^-19.0 of it is left at fc1",
    "distributions0": "From layer to layer the gradient is multiplied by 0.10 (geometric mean)",
    "bands0": "96 % of the outputs of block1/relu_with_a_long_name are between -1 and 1",
    "saturated0": "97% of the outputs of act1 are saturated",
    "dead0": "50% of the units of block1/relu_with_a_long_name are dead",
    "updates0": "An update changes the kernels by 1.0e-03 of their norm (median of the layers)",
    "ics0": "The updates of earlier layers turn the gradient of fc7 by 120° (median), no other by more",
    "drift0": "An update shifts the inputs of layer fc2 by 0.2 of their deviation (median), no other by more",
    "range": "Along a step the loss varies by 0.35",
    "smoothness": "The effective β-smoothness is 2",
    "hessian": "The largest curvature of the loss is 5",
    "lags": "Each step back multiplies the gradient of rnn by 0.50",
}


def test_every_title_is_the_finding():
    ((*figures,),) = probe_figures([full()])
    found = {figure.name: figure.title for figure in figures}
    # The losses fall from 2.3 by 0.09 a step, and the first ten have the mean 1.895.
    assert found.pop("loss") == "The loss goes from 1.89 to 0.5 in 20 steps"
    assert found == TITLES


@pytest.mark.parametrize(
    ("stds", "words"),
    [
        ((0.0, 1e-9, 1.0), "The gradient dies here: 0 of it is left at fc1"),
        ((1e3, 1.0, 1.0), "The gradient explodes: fc1 gets 10^3.0 times that of fc3"),
        ((0.5, 1.0, 1.0), "The gradient reaches fc1: 0.5 of that at fc3"),
        ((0.0, 0.0, 0.0), "No gradient leaves the last layer"),
    ],
)
def test_the_title_of_the_gradient(stds, words):
    (figures,) = probe_figures([record(stds)])
    assert figures[0].title == words
    figure_page(figures[0])


def test_networks_are_compared_side_by_side_and_lines_are_in_one_panel():
    records = [full(), full((1.0,) * 20, "norm=batch", 0.1), full((1.0,) * 20, "skip=post_activation", 0.15)]
    rows = probe_figures(records)
    gradients, lines, *_ = rows
    assert [figure.name for figure in gradients] == ["gradients0", "gradients1", "gradients2"]
    assert gradients[1].title == "norm=batch: the gradient reaches fc1: 1 of that at fc20"
    titles = {figure.name: figure.title for figure in lines}
    assert titles["smoothness"] == "norm=batch has the smoothest loss: 1; as it is has 2"
    names = [figure.name for row in rows for figure in row]
    assert len(names) == len({*names})


def test_the_colours_of_networks_have_one_scale():
    (first, second), *_ = probe_figures([full(), full((1.0,) * 20, "norm=batch")])
    images = [figure_page(figure).figure.axes[1].images[0] for figure in (first, second)]
    assert images[0].get_clim() == images[1].get_clim() == (-19, 1)
    # The gradient of the first layer, at the bottom, is dark only where it vanishes.
    darkness = [image.cmap(image.norm(image.get_array()))[0, :, :3].mean() for image in images]
    assert darkness[0] < 0.1 and darkness[1] > 0.6


def test_the_line_is_where_the_gradient_falls_below_a_hundredth():
    (figures,) = probe_figures([full()])
    panel = figure_page(figures[0]).figure.axes[1]
    (line,) = panel.lines
    # Three layers have a hundredth or more: 20, 19 and 18. Layers are counted from 0 at the bottom.
    assert {*line.get_ydata()} == {16.5}
    assert "dies here" in [text.get_text() for text in panel.texts]


@pytest.mark.parametrize("several", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_texts_are_on_the_picture_and_apart(several, tmp_path, monkeypatch):
    drawn = watch(monkeypatch)
    labels = ("as it is", "norm=batch", "activation=relu, kernel_init=orthogonal")
    records = [full(label=label) for label in labels[:several]]
    path = draw_figures(probe_figures(records), tmp_path / "a.png", title="Probes of a network " * 6)
    height, width = pixels(path).shape[:2]
    assert width == 2 * COLUMN + 60
    for text, box in drawn.texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (a, one), (b, two) in itertools.combinations(drawn.texts, 2):
        across, along = min(one.x1, two.x1) - max(one.x0, two.x0), min(one.y1, two.y1) - max(one.y0, two.y0)
        assert across <= 1 or along <= 1, (a, b)


def test_a_network_without_readings_of_layers_has_the_other_figures():
    alone = record()
    alone.history.readings.pop("gradients")
    alone.history.readings["landscape"] = landscape(0.1)
    (figures,) = probe_figures([alone])
    assert [figure.name for figure in figures] == ["loss", "range", "smoothness"]
