import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jaxcnn.__main__ import main
from jaxcnn.cli import shift_calibrate
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import calibration
from jaxcnn.shift.calibration import CONDITIONS, NOISE, Calibration, add_noise, calibrate, draw_rows, finding
from jaxcnn.shift.detecting import TESTS

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"
SMALL = {"sizes": (10, 20, 500), "repetitions": 2}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    run = shutil.copytree(FINISHED, folder / "run")
    return run, calibrate(run, folder / "out", **SMALL)


def test_it_counts_the_alarms_of_every_test_and_writes_record_and_picture(calibrated):
    run, found = calibrated
    assert (found.run, found.images, found.repetitions) == ("run", 64, 2)
    # 500 images of each sample need more test images than there are.
    assert found.sizes == (10, 20)
    assert {*found.alarms} == {*CONDITIONS}
    for sizes in found.alarms.values():
        assert [*sizes] == ["10", "20"] and all({*counts} == {*TESTS} for counts in sizes.values())
    record = json.loads((run.parent / "out" / "calibration.json").read_text())
    assert record["alarms"] == found.alarms and record["seconds"] == found.seconds > 0
    assert (run.parent / "out" / "calibration.png").stat().st_size > 10_000


def test_a_stopped_calibration_continues_and_ends_as_if_it_had_not_stopped(calibrated, tmp_path, monkeypatch):
    run, found = calibrated
    shutil.copy(run.parent / "out" / "calibration.json", tmp_path)
    record = json.loads((tmp_path / "calibration.json").read_text())
    del record["alarms"]["classes"]["20"]
    (tmp_path / "calibration.json").write_text(json.dumps(record))
    drawn = []
    monkeypatch.setattr(calibration, "draw_rows", lambda *a: drawn.append(a[1:3]) or draw_rows(*a))
    assert calibrate(run, tmp_path, **SMALL).alarms == found.alarms
    assert drawn == [(20, True)] * 2


def test_the_command_prints_the_false_alarms_and_the_finding(calibrated, monkeypatch, capsys):
    run, found = calibrated
    monkeypatch.setattr(shift_calibrate, "calibrate", lambda *a, **k: calibrate(*a, **SMALL, **k))
    assert main(["shift", "calibrate", str(run), f"--out={run.parent / 'out'}"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and all(name in out for name in TESTS) and "n = 20" in out
    assert f"{finding(found)}.\n" in out and out.endswith(f"picture: {run.parent / 'out' / 'calibration.png'}\n")


def test_an_unknown_command_suggests_the_nearest(capsys):
    assert main(["shift", "calibrat"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: 'calibrat' is not a command of shift. Did you mean 'calibrate'? Commands are gallery")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetitions": 0}, "repetitions is 0; it must be 1 or more"),
        ({"sizes": (30, 40)}, "has 64 test images; calibration needs at least 90, three for each image"),
        ({**SMALL, "repetitions": 3}, "has a calibration with repetitions 2, not 3. Give another folder, or delete"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_the_reason(calibrated, options, message):
    run, _ = calibrated
    with pytest.raises(InputError, match=message):
        calibrate(run, run.parent / "out", **options)


def test_a_folder_that_cannot_be_written_is_one_message_before_anything_is_computed(calibrated, tmp_path, capsys):
    out = tmp_path / "file"
    out.write_text("")
    assert main(["shift", "calibrate", str(calibrated[0]), f"--out={out}"]) == 2
    assert capsys.readouterr().err == f"error: out {out} cannot be written: File exists. Give another folder.\n"


def counts(**alarms):
    """A calibration of 200 repetitions at two sizes, with these alarms and otherwise 10."""
    every = {c: {n: {name: alarms.get(f"{c}_{n}", 10) for name in TESTS} for n in ("20", "50")} for c in CONDITIONS}
    return Calibration("lenet5", 100, 5000, 200, (20, 50), 0, every)


def test_limits_are_those_of_the_binomial_distribution():
    low, high = counts().limits
    assert (low, high) == (3, 19)
    assert stats.binom.cdf(high, 200, 0.05) - stats.binom.cdf(low - 1, 200, 0.05) >= 0.99


def test_a_conservative_test_may_have_few_false_alarms_and_an_exact_one_may_not():
    many, few = counts(none_50=20), counts(none_20=2)
    assert not any(many.keeps_level(name) for name in TESTS)
    assert [name for name in TESTS if not few.keeps_level(name)] == ["MMD on features"]
    assert all(counts(none_20=19, none_50=3).keeps_level(name) for name in TESTS)


def test_the_finding_names_the_tests_that_need_the_fewest_images():
    found = counts(noise_50=160, classes_50=159)
    assert [found.needed(c, "KS on pixels") for c in CONDITIONS] == [None, 50, None]
    assert finding(found) == (
        "Every test keeps the level of 5 %; 6 tests found noise with 50 images; none found other class shares reliably"
    )
    found.alarms["noise"]["20"]["KS on softmax"] = 170
    found.alarms["none"]["20"]["KS on pixels"] = 30
    assert finding(found).startswith("KS on pixels missed the level of 5 %; KS on softmax found noise with 20 images;")


@pytest.mark.parametrize("skewed", [False, True])
def test_samples_share_no_image_and_a_skewed_target_has_fewer_of_the_later_classes(skewed):
    first = np.arange(600) % 2 == 0
    shares = []
    for seed in range(20):
        source, target = draw_rows(first, 200, skewed, np.random.default_rng(seed))
        assert len({*source, *target}) == 400
        shares.append([first[source].mean(), first[target].mean()])
    assert np.mean(shares, axis=0) == pytest.approx([0.5, 0.7 if skewed else 0.5], abs=0.02)


@pytest.mark.parametrize("images", [np.full((8, 50, 50, 1), 128, np.uint8), np.tile([0.0, 2.0], (8, 50, 25, 1))])
def test_noise_has_the_deviation_it_says_and_stays_in_the_range_of_pixels(images):
    noisy = add_noise(images, 0)
    span = 255 if images.dtype == np.uint8 else 2
    assert noisy.dtype == images.dtype and noisy.min() >= 0 and noisy.max() <= span
    if images.dtype == np.uint8:
        assert (noisy.astype(float) - 128).std() == pytest.approx(NOISE * span, rel=0.02)
