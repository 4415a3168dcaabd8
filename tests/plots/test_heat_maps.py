import math

import numpy as np
import pytest

from jaxcnn import plots
from jaxcnn.runtime.errors import InputError
from tests.plots.drawn import lightness

NAN = math.nan
NAMES = {"row_name": "model.norm", "column_name": "optimizer.learning_rate", "title": "Test error: batch is best"}


def draw(means, path, notes=None, *, rows=None, columns=None, **options):
    means = np.asarray(means)
    notes = notes or [[""] * means.shape[1] for _ in means]
    rows = rows or [f"row {i}" for i in range(means.shape[0])]
    columns = columns or [f"{10.0 ** (i - 4):g}" for i in range(means.shape[1])]
    return plots.heat_map(means, notes, path, rows=rows, columns=columns, **NAMES, **options)


PICTURES = {
    "two by two": ([[1.0, 2.0], [3.0, 4.0]], {}),
    "one row": ([[1.0, 2.0, 3.0]], {}),
    "decades and holes": ([[1.0, NAN, 90.0], [NAN, 2.0, 3.0]], {"notes": [["", "diverged", ""], ["", "", ""]]}),
    "long names": (
        [[1.0, 2.0]],
        {"rows": ["BatchNorm(momentum=0.99) " * 3], "columns": ["x" * 30, "y"]},
    ),
    "many cells": (np.arange(1200).reshape(24, 50) / 7, {}),
    "equal": ([[5.0, 5.0]], {}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_texts_are_inside_the_picture_and_do_not_overlap(name, drawn, tmp_path):
    means, options = PICTURES[name]
    drawn.check_layout(draw(means, tmp_path / "a.png", **options))


def test_cells_show_the_means_and_what_became_of_the_others(drawn, tmp_path):
    draw([[2.5, 30.0], [NAN, NAN]], tmp_path / "a.png", [["", ""], ["diverged", ""]])
    (panel,) = drawn.panels
    (image,) = panel.images
    np.testing.assert_array_equal(image.get_array().filled(-1), [[2.5, 30.0], [-1, -1]])
    places = {word: ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for word, box in drawn.texts}
    for word, cell in (("2.50", (0, 0)), ("30.00", (1, 0)), ("diverged", (0, 1))):
        assert np.abs(panel.transData.transform(cell) - places[word]).max() < 4
    assert {"row 0", "row 1", "0.0001", "0.001", "model.norm", "optimizer.learning_rate"} <= {*drawn.words}


@pytest.mark.parametrize(("lower", "best"), [(True, (0, 1)), (False, (1, 0))])
def test_the_best_cell_is_the_darkest_and_has_a_frame(lower, best, drawn, tmp_path):
    means = np.array([[3.0, 1.0], [7.0, 2.0]])
    draw(means, tmp_path / "a.png", lower_is_better=lower)
    (panel,) = drawn.panels
    (image,) = panel.images
    tones = lightness(image.cmap(image.norm(means))[..., :3])
    assert np.unravel_index(tones.argmin(), tones.shape) == best
    assert [*np.argsort(tones.ravel())] == [*np.argsort(means.ravel() if lower else -means.ravel())]
    (frame,) = panel.patches
    assert frame.get_xy() == (best[1] - 0.5, best[0] - 0.5)


def test_cells_too_narrow_for_numbers_have_a_colour_bar(drawn, tmp_path):
    draw(np.arange(1, 121).reshape(2, 60), tmp_path / "a.png")
    assert len(drawn.panels) == 2 and "1.00" in drawn.words and "120.00" in drawn.words and "60.00" not in drawn.words


def test_a_heat_map_without_a_mean_is_refused(tmp_path):
    with pytest.raises(InputError, match="the heat map has no mean"):
        draw([[NAN]], tmp_path / "a.png")
