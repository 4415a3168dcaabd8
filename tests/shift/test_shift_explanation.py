"""The explanation of covariate shift: its numbers are those of the network, and its picture is legible."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import roc_auc_score

from jaxcnn.__main__ import main
from jaxcnn.describe.digits_program import digits
from jaxcnn.shift.example import covariate_shift_example
from jaxcnn.shift.explanation import draw_covariate_shift, explain_covariate_shift


@pytest.fixture(scope="module")
def example():
    return covariate_shift_example()


def test_the_target_is_other_images_in_brighter_light(example):
    images, half = digits().test.images, len(digits().test) // 2
    np.testing.assert_array_equal(example.source.images, images[:half])
    # Brightness adds to every pixel, so that nothing is darker and what was white stays white.
    assert (example.target.images.astype(int) >= images[half:].astype(int) - 1).all()
    np.testing.assert_array_equal(example.target.labels, digits().test.labels[half:])


def test_normalized_values_are_those_of_a_convolution_by_hand(example):
    values = example.values["target"].reshape(len(example.target), -1)
    assert values.shape[1] == 14 * 14
    hat = example.normalized("target")
    assert hat.mean() == pytest.approx((values.mean() - example.mean) / example.sd, abs=1e-4)
    assert abs(example.normalized("source").mean()) < 0.3 < abs(hat.mean())


def test_accuracies_are_counted(example):
    right = {
        name: float((each.predictions == each.labels).mean())
        for name, each in (("source", example.source), ("target", example.target), ("repaired", example.repaired))
    }
    assert right["source"] == pytest.approx(example.cost.source.accuracy)
    assert right["target"] == pytest.approx(example.cost.target.accuracy)
    assert right["target"] < right["source"] - 0.1
    assert right["repaired"] == pytest.approx(example.repaired_cost.target.accuracy)
    assert right["repaired"] > right["target"] + 0.1
    text, table = explain_covariate_shift()
    for share in right.values():
        assert f"{share:.1%}" in text.replace("\n", " ")
        assert any(f"{share:.1%}" in row for row in table.rows)


def test_the_populations_can_be_told_apart(example):
    # One direction in feature space is enough.
    features = [example.source.features, example.target.features]
    direction = features[1].mean(axis=0) - features[0].mean(axis=0)
    scores, truth = np.concatenate(features) @ direction, np.repeat([0, 1], [len(each) for each in features])
    assert roc_auc_score(truth, scores) > 0.95
    assert example.weights.refused and example.detection.p < 1e-6


def test_texts_of_the_picture_are_on_the_page_and_apart(example, tmp_path, monkeypatch):
    drawn, draw = [], Text.draw

    def measure(text, renderer):
        if text.get_visible() and text.get_text():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))
        return draw(text, renderer)

    monkeypatch.setattr(Text, "draw", measure)
    with Image.open(draw_covariate_shift(tmp_path / "a.png")) as image:
        width, height = image.size
    for text, box in drawn:
        assert box.x0 >= 10 and box.x1 <= width - 10 and box.y0 >= 4 and box.y1 <= height - 4, text
    for (first, a), (second, b) in itertools.combinations(drawn, 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0, (first, second)
    said = " ".join(text for text, _ in drawn)
    assert re.search(rf"{example.cost.target.accuracy:.1%}", said)


def test_the_command_explains_it(example, capsys, tmp_path):
    assert main(["describe", "covariate_shift", "--format=markdown", f"--diagram={tmp_path / 'a.svg'}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Covariate shift means") and "| source |" in out
    assert (tmp_path / "a.svg").read_text().lstrip().startswith("<?xml")
