"""The verdict on batch normalization under corruptions follows from hand-made errors by the rule."""

import pytest

from jaxcnn.claims.batch_norm_corruptions import METHODS, WITHOUT, by_corruption, decide, draw, gains, overall
from jaxcnn.shift import CORRUPTIONS, FAMILIES

NOISE = [0.3, -0.3, 0.1, -0.1, 0.0]


def measured(without, source, adapted, names=("fog", "stripe")):
    """Errors in percent by corruption of three methods; severity 5 has 10 points more than severity 3, and the other
    methods are those of the test batch."""

    def by_method(*values):
        points = dict.fromkeys((WITHOUT, *METHODS), values[2]) | dict(zip((WITHOUT, "source"), values, strict=False))
        return {
            method: [value + i + NOISE[(i + place) % 5] for i in range(5)]
            for place, (method, value) in enumerate(points.items())
        }

    errors = {
        name: {str(severity): by_method(*(x + 10 * (severity == 5) for x in values)) for severity in (3, 5)}
        for name, *values in zip(names, without, source, adapted, strict=True)
    }
    return {"errors": errors, "clean": by_method(2, 1, 1.5)}


@pytest.mark.parametrize(
    ("found", "verdict", "effect"),
    [
        (measured((20, 30), (10, 20), (10, 20)), "holds", 10),
        (
            measured((20, 30), (60, 30), (10, 20)),
            "holds if the statistics of the test batch replace those of training",
            -20,
        ),
        (measured((20, 30), (60, 30), (30, 30)), "does not hold", -20),
    ],
)
def test_the_networks_as_trained_decide_first(found, verdict, effect, tmp_path):
    decided = decide(found)
    assert decided.verdict == verdict
    assert decided.effect == pytest.approx(effect, abs=0.2)
    assert decided.interval[0] < decided.effect < decided.interval[1]
    assert draw(found, tmp_path / "a.png").is_file()


def test_errors_are_means_over_severities_and_corruptions():
    found = measured((20, 30), (60, 29.5), (10, 20))
    assert by_corruption(found, WITHOUT)["fog"] == pytest.approx([25 + i + n for i, n in enumerate(NOISE)])
    assert overall(found, WITHOUT) == pytest.approx([30 + i + n for i, n in enumerate(NOISE)])
    assert gains(found, "source")["fog"].mean == pytest.approx(-40, abs=0.2)
    # Half a point on stripe does not count.
    text = decide(found).conditions
    assert "32.0 % (4.0 %) without batch normalization" in text
    assert "Of 2 corruptions" in text
    assert "with statistics of training 0 and 1; with statistics of the test batch 2 and 0." in text


def test_all_corruptions_are_drawn(tmp_path):
    names = [name for family in FAMILIES.values() for name in family]
    assert set(names) == set(CORRUPTIONS)
    spread = [range(k, k + 2 * len(names), 2) for k in (5, 40, 10)]
    assert draw(measured(*spread, names=names), tmp_path / "a.png").is_file()
