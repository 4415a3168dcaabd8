import numpy as np
import pytest

from jaxcnn.plots.power import power_curves

NAMES = [f"test {i} on features" for i in range(6)]
PANELS = {
    "No shift: false alarms": {name: [0.05, 0.01 * i, 0.04] for i, name in enumerate(NAMES)},
    "Noise: alarms": {name: [0.1, 0.5, 1.0] for name in NAMES},
}


def draw(path, panels=PANELS):
    options = {"title": "Every test keeps the level", "subtitle": "200 repetitions", "level": 0.05}
    return power_curves(panels, (20, 100, 500), path, limits=(0.015, 0.095), **options)


@pytest.mark.parametrize("tests", [1, 6])
def test_texts_are_inside_the_picture_and_do_not_overlap(tests, drawn, tmp_path):
    panels = {k: {name: shares[name] for name in NAMES[:tests]} for k, shares in PANELS.items()}
    drawn.check_layout(draw(tmp_path / "a.png", panels))
    assert {*PANELS, *NAMES[:tests], "20", "100", "500", "images of each sample"} <= {*drawn.words}


def test_lines_are_the_shares_and_false_alarms_have_a_scale_of_their_own(drawn, tmp_path):
    draw(tmp_path / "a.png")
    for panel, shares in zip(drawn.panels, PANELS.values(), strict=True):
        lines = [line for line in panel.lines if len(line.get_xdata()) == 3]
        np.testing.assert_array_equal([line.get_ydata() for line in lines], [*shares.values()])
        assert [*lines[0].get_xdata()] == [20, 100, 500]
    assert drawn.panels[0].get_ylim()[1] < 0.25 < 1 <= drawn.panels[1].get_ylim()[1]


def test_more_false_alarms_than_expected_are_still_inside_the_panel(drawn, tmp_path):
    draw(tmp_path / "a.png", {"No shift": {"broken": [0.5, 0.9, 1.0]}})
    assert drawn.panels[0].get_ylim()[1] > 1
