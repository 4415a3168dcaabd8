import csv
import dataclasses
import json
import random
import shutil
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcnn import InputError
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten
from jaxcnn.models import AlexNet, Chain, LeNet5
from jaxcnn.sweep import summarize
from tests.sweep.folders import write_point

# Test errors by normalization and seed.
ERRORS = {
    "none": {0: 0.030, 1: 0.034, 2: 0.029, 3: 0.035},
    "batch": {0: 0.012, 1: 0.013, 2: 0.010},
    "layer": {0: 0.020, 1: 0.022, 2: 0.021},
}


@pytest.fixture
def norms(tmp_path):
    """Three norms over seeds; batch normalization has a seed that diverged, one that failed and two unfinished."""
    for norm, errors in ERRORS.items():
        for seed, error in errors.items():
            write_point(tmp_path, {"model.norm": norm, "seed": seed}, error=error)
    for seed, status in ((3, "diverged"), (4, "failed"), (5, "unfinished"), (6, "unfinished")):
        write_point(tmp_path, {"model.norm": "batch", "seed": seed}, status=status)
    return tmp_path


def labels(table):
    return [row.label for row in table.rows]


def test_a_row_has_the_statistics_of_its_seeds(norms):
    table = summarize(norms)
    assert table.by == ("model.norm",) and labels(table) == ["batch", "layer", "none"]
    for row in table.rows:
        values = [*ERRORS[row.label].values()]
        assert row.values == ERRORS[row.label]
        assert row.mean == pytest.approx(np.mean(values)) and row.sd == pytest.approx(np.std(values, ddof=1))
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert row.interval == pytest.approx(expected)
        assert row.n == len(values) and row.difference is None
        assert row.workdirs == {seed: norms / f"norm={row.label},seed={seed}" for seed in row.values}
    assert [(row.diverged, row.failed, row.unfinished) for row in table.rows] == [(1, 1, 2), (0, 0, 0), (0, 0, 0)]


def test_differences_are_paired_by_the_seeds_that_both_have_finished(norms):
    table = summarize(norms, by="model.norm", baseline="none")
    found = {row.label: row.difference for row in table.rows}
    assert found["none"] is None
    tests = {
        norm: stats.ttest_rel([ERRORS[norm][s] for s in range(3)], [ERRORS["none"][s] for s in range(3)])
        for norm in ("batch", "layer")
    }
    for norm, test in tests.items():
        assert found[norm].pairs == 3 and found[norm].p == pytest.approx(test.pvalue)
        assert found[norm].interval == pytest.approx([*test.confidence_interval()])
        assert found[norm].mean == pytest.approx(np.mean([ERRORS[norm][s] - ERRORS["none"][s] for s in range(3)]))
    low, high = sorted(test.pvalue for test in tests.values())
    assert sorted(each.p_holm for each in found.values() if each) == pytest.approx([2 * low, max(2 * low, high)])


@pytest.mark.parametrize(
    ("metric", "first", "mean"),
    [
        ("test.loss", "batch", 5 * 0.035 / 3),
        ("validation.accuracy", "batch", 1 - 0.035 / 3),
        ("seconds", "batch", 10.0),
        ("steps", "batch", 100.0),
    ],
)
def test_the_best_mean_is_first_also_for_accuracies(norms, metric, first, mean):
    row = summarize(norms, metric=metric).rows[0]
    assert row.label == first and row.mean == pytest.approx(mean)


def test_the_order_of_the_folders_does_not_matter(norms):
    expected = summarize(norms, baseline="none")
    points = sorted(norms.iterdir())
    for seed in range(3):
        order = random.Random(seed).sample(range(len(points)), len(points))
        for point, place in zip(points, order, strict=True):
            point.rename(norms / f"moved{place}")
        found = summarize(norms, baseline="none")
        for one, two in zip(found.rows, expected.rows, strict=True):
            assert dataclasses.replace(one, workdirs={}) == dataclasses.replace(two, workdirs={})
        for point, place in zip(points, order, strict=True):
            (norms / f"moved{place}").rename(point)


def test_one_seed_has_neither_deviation_nor_interval_nor_test(tmp_path):
    for norm in ("none", "batch"):
        write_point(tmp_path, {"model.norm": norm}, error=0.02 if norm == "none" else 0.01)
    table = summarize(tmp_path, baseline="none")
    best = table.rows[0]
    assert (best.mean, best.sd, best.interval) == (0.01, None, None)
    assert (best.difference.mean, best.difference.interval, best.difference.p) == (-0.01, None, None)
    assert [line.split() for line in table.text().splitlines() if line.split()[:1] == ["batch"]] == [
        ["batch", "1.00", "-", "1", "-"],
        ["batch", "−1.00", "-", "-", "-", "1"],
    ]


def test_identical_values_have_an_interval_of_width_zero_and_no_p_value(tmp_path):
    for norm, error in (("none", 0.3), ("batch", 0.1)):
        for seed in range(3):
            write_point(tmp_path, {"model.norm": norm, "seed": seed}, error=error)
    best = summarize(tmp_path, baseline="none").rows[0]
    assert best.sd == 0 and best.interval == pytest.approx((0.1, 0.1))
    assert best.difference.interval == pytest.approx((-0.2, -0.2)) and best.difference.p is None


def test_an_arm_without_a_finished_run_is_last_and_has_no_difference(norms):
    for seed in range(2):
        write_point(norms, {"model.norm": "group", "seed": seed}, status="diverged")
    table = summarize(norms, baseline="none")
    last = table.rows[-1]
    assert (last.label, last.n, last.mean, last.diverged, last.difference) == ("group", 0, None, 2, None)
    assert summarize(norms, baseline="group").rows[0].difference is None
    assert table.text().splitlines()[7].split() == ["group", "-", "-", "0", "-", "2"]


def test_nothing_varies_but_the_seed(tmp_path):
    for seed in range(3):
        write_point(tmp_path, {"seed": seed}, error=seed / 100)
    table = summarize(tmp_path)
    assert table.by == () and labels(table) == ["all"] and table.rows[0].mean == pytest.approx(0.01)
    assert table.text().splitlines()[2].split() == ["runs", "mean", "sd", "n", "95", "%", "interval"]
    assert table.csv().startswith("metric,mean,")


def test_settings_that_change_no_result_do_not_vary(norms):
    write_point(norms, {"model.norm": "layer", "seed": 9, "eval_every": 3, "data.data_dir": "elsewhere"})
    assert summarize(norms).by == ("model.norm",)


VALUES = {
    "model.norm": (["batch", BatchNorm(momentum=0.99), "none"], ["batch", "BatchNorm(momentum=0.99)", "none"]),
    "optimizer.learning_rate": ([1e-4, 0.01, 3], ["0.0001", "0.01", "3"]),
    "optimizer.clip_norm": ([None, 1.0], ["none", "1"]),
    "augment.flip": ([True, False], ["true", "false"]),
    "data.mean": ([(0.0,), (0.5,)], ["(0)", "(0.5)"]),
    "model": ([LeNet5(), AlexNet(num_classes=10)], ["LeNet5", "AlexNet(num_classes=10)"]),
}


@pytest.mark.parametrize("path", VALUES)
def test_a_value_reads_as_in_the_folder_names(path, tmp_path):
    values, texts = VALUES[path]
    for i, value in enumerate(values):
        write_point(tmp_path / "sweep", {path: value}, name=f"{i}", error=i / 100)
    assert labels(summarize(tmp_path / "sweep")) == texts
    for text in texts:
        assert summarize(tmp_path / "sweep", baseline=f" {text} ").baseline == text


def test_networks_of_layers_read_as_the_layers_that_differ(tmp_path):
    rest = (Activation("relu", name="relu"), Flatten(name="flatten"), Dense(10, name="output"))
    layers = {"plain": (), "norm": (BatchNorm(name="norm1"),)}
    for i, name in enumerate(layers):
        model = Chain((Conv(4, name="conv1"), *layers[name], *rest))
        write_point(tmp_path, {"model": model}, name=name, error=i / 100)
    table = summarize(tmp_path)
    assert table.by == ("model.records",) and labels(table) == ["()", "(BatchNorm(name=norm1))"]


def test_by_may_name_an_option_of_a_norm_that_is_given_by_its_name(tmp_path):
    for norm in ("batch", BatchNorm(momentum=0.99)):
        write_point(tmp_path, {"model.norm": norm, "seed": 0})
    table = summarize(tmp_path, by="model.norm.momentum", baseline="9e-1")
    assert labels(table) == ["0.9", "0.99"] and table.baseline == "0.9"


def test_several_fields_are_separated_by_commas(tmp_path):
    for i, norm in enumerate(("none", "batch")):
        for j, rate in enumerate((0.1, 0.01)):
            write_point(tmp_path, {"model.norm": norm, "optimizer.learning_rate": rate}, error=0.01 * (2 * i + j))
    table = summarize(tmp_path, by="optimizer.learning_rate, model.norm", baseline="0.1,batch")
    assert table.by == ("optimizer.learning_rate", "model.norm")
    assert labels(table) == ["0.1, none", "0.01, none", "0.1, batch", "0.01, batch"]
    assert table.baseline == "0.1, batch"
    assert labels(summarize(tmp_path)) == ["none, 0.1", "none, 0.01", "batch, 0.1", "batch, 0.01"]
    assert labels(summarize(tmp_path, by=["model.norm", "optimizer.learning_rate"])) == labels(summarize(tmp_path))


@pytest.fixture
def rates(tmp_path):
    """Test and validation errors by norm, rate and seed, where the rate that is best on the test split is another."""
    errors = {
        ("none", 0.1): ([0.10, 0.12], [0.30, 0.32]),
        ("none", 0.01): ([0.20, 0.22], [0.20, 0.25]),
        ("batch", 0.1): ([0.15, 0.17], [0.10, 0.14]),
        ("batch", 0.01): ([0.05, 0.07], [0.20, 0.24]),
    }
    for (norm, rate), pairs in errors.items():
        for seed, (error, validation) in enumerate(zip(*pairs, strict=True)):
            changes = {"model.norm": norm, "optimizer.learning_rate": rate, "seed": seed}
            write_point(tmp_path, changes, error=error, validation=validation)
    return tmp_path


def chosen(table):
    return {row.label: row.chosen["optimizer.learning_rate"].raw for row in table.rows}


def test_settings_are_selected_by_validation_and_their_test_result_is_reported(rates):
    table = summarize(rates, by="model.norm", baseline="none", select="validation.error")
    assert chosen(table) == {"batch": 0.1, "none": 0.01}
    assert [row.mean for row in table.rows] == pytest.approx([0.16, 0.21])
    assert table.rows[0].difference.mean == pytest.approx(-0.05)
    assert "settings selected by validation error" in table.text().splitlines()[0]
    assert "optimizer.learning_rate (selected)" in table.text() and not table.notes
    assert chosen(summarize(rates, by="model.norm", select="validation.accuracy")) == {"batch": 0.1, "none": 0.01}


def test_a_setting_with_a_diverged_seed_is_selected_only_if_all_have_one(rates):
    def diverge(norm, rate, seed):
        write_point(rates, {"model.norm": norm, "optimizer.learning_rate": rate, "seed": seed}, status="diverged")

    diverge("batch", 0.1, 2)
    table = summarize(rates, by="model.norm", select="validation.error")
    assert chosen(table) == {"batch": 0.01, "none": 0.01}
    assert table.rows[0].diverged == 0
    assert table.notes[0] == "Selected among the finished runs, 8 of 9 (1 diverged)."
    assert table.notes[1].endswith("fewer diverged seeds: batch with 0.1 (2 finished, 1 diverged).")
    diverge("batch", 0.01, 2)
    table = summarize(rates, by="model.norm", select="validation.error")
    assert chosen(table) == {"batch": 0.1, "none": 0.01} and table.rows[0].diverged == 1


def test_an_arm_without_a_finished_run_has_no_selected_setting(rates):
    for rate in (0.1, 0.01):
        write_point(rates, {"model.norm": "layer", "optimizer.learning_rate": rate, "seed": 0}, status="unfinished")
    table = summarize(rates, by="model.norm", select="validation.error")
    assert (table.rows[-1].label, table.rows[-1].chosen, table.rows[-1].n) == ("layer", {}, 0)
    assert len({len(line) for line in csv.reader(table.csv().splitlines())}) == 1


def test_an_empty_by_selects_the_best_of_all_settings(rates):
    (row,) = summarize(rates, by=(), select="validation.error").rows
    assert (row.chosen["model.norm"].text, row.chosen["optimizer.learning_rate"].raw) == ("batch", 0.1)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=4))
def test_selection_takes_the_best_mean(tmp_path_factory, grid):
    folder = tmp_path_factory.mktemp("sweep")
    for i, values in enumerate(grid):
        for seed, value in enumerate(values):
            changes = {"optimizer.momentum": i / 10, "epochs": 1, "seed": seed}
            write_point(folder, changes, error=0.5, validation=value / 10)
    if len(grid) == 1:
        return
    (row,) = summarize(folder, by="epochs", select="validation.error").rows
    most = max(map(len, grid))
    means = [np.mean(values) if len(values) == most else np.inf for values in grid]
    assert means[round(10 * row.chosen["optimizer.momentum"].raw)] == pytest.approx(min(means))


def test_formats_hold_the_same_numbers(norms):
    table = summarize(norms, baseline="none")
    best = table.rows[0]
    text, markdown = table.text(), table.markdown()
    assert text.splitlines()[0] == "test error, %"
    assert text.splitlines()[4].split() == ["batch", "1.17", "0.15", "3", "0.79", "to", "1.55", "1", "1", "2"]
    assert "| batch | 1.17 | 0.15 | 3 | 0.79 to 1.55 | 1 | 1 | 2 |" in markdown
    assert "| model.norm | mean | sd | n | 95 % interval | diverged | failed | unfinished |" in markdown
    assert "test error, difference from none, percentage points, paired by seed" in text
    found = [*csv.DictReader(table.csv().splitlines())]
    assert [line["model.norm"] for line in found] == ["batch", "layer", "none"]
    assert float(found[0]["mean"]) == best.mean and float(found[0]["interval_high"]) == best.interval[1]
    assert float(found[0]["difference_p_holm"]) == best.difference.p_holm and found[2]["difference_mean"] == ""
    data = json.loads(table.json())
    assert (data["metric"], data["by"], data["baseline"]) == ("test.error", ["model.norm"], "none")
    assert data["rows"][0]["settings"] == {"model.norm": "batch"} and data["rows"][0]["diverged"] == 1
    assert data["rows"][0]["values"] == {"0": 0.012, "1": 0.013, "2": 0.01}
    assert data["rows"][0]["difference"] == dataclasses.asdict(best.difference) | {
        "interval": list(best.difference.interval)
    }


def test_numbers_stay_numbers_in_csv_and_json(tmp_path):
    for rate in (1 / 3, 2 / 3):
        write_point(tmp_path, {"optimizer.learning_rate": rate}, error=rate / 10)
    table = summarize(tmp_path)
    assert labels(table) == ["0.3333", "0.6667"]
    assert [float(line["optimizer.learning_rate"]) for line in csv.DictReader(table.csv().splitlines())] == [
        1 / 3,
        2 / 3,
    ]
    assert json.loads(table.json())["rows"][1]["settings"] == {"optimizer.learning_rate": 2 / 3}


def test_metrics_in_other_units_are_not_percent(norms):
    assert summarize(norms, metric="test.loss").text().splitlines()[4].split()[:3] == ["batch", "0.05833", "0.007638"]
    assert summarize(norms, metric="seconds", baseline="none").text().splitlines()[0] == "seconds"


def test_a_frame_has_the_columns_of_the_csv(norms):
    pandas = pytest.importorskip("pandas")
    table = summarize(norms, baseline="none")
    frame = table.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert [*frame.columns] == table.csv().splitlines()[0].split(",")
    assert frame["mean"].tolist() == [row.mean for row in table.rows]


def test_a_frame_without_pandas_says_what_to_install(norms, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        summarize(norms).frame()
    frames = types.SimpleNamespace(DataFrame=lambda records: records)
    monkeypatch.setitem(sys.modules, "pandas", frames)
    assert [record["model.norm"] for record in summarize(norms).frame()] == ["batch", "layer", "none"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"by": "model.nrm"},
            "by has the unknown field 'model.nrm'. Did you mean 'model.norm'? The runs differ",
        ),
        ({"by": "lr"}, "Did you mean 'optimizer.learning_rate'?"),
        ({"by": "data.data_dir"}, "by has the unknown field 'data.data_dir'."),
        ({"by": "seed"}, "by contains seed, over which"),
        ({"by": ""}, "by has the unknown field ''."),
        (
            {"by": "optimizer.momentum"},
            "by has optimizer.momentum, which is 0.9 in every run; the runs differ in model.norm.",
        ),
        ({"baseline": "nune"}, "baseline is 'nune', which is not among the values of model.norm: batch; layer; none."),
        ({"baseline": "0.1"}, "baseline is '0.1', which"),
        (
            {"metric": "test.eror"},
            "metric is test.eror, which no run has. Did you mean 'test.error'? Metrics are",
        ),
        ({"metric": "seed"}, "metric is seed, which no run has."),
        ({"by": "model.norm", "select": "test.error"}, "select is test.error; settings must not be chosen on the test"),
        ({"by": "model.norm", "select": "validation.err"}, "select is validation.err, which no run has. Did you mean"),
        ({"by": "model.norm", "select": "validation.error"}, "select is validation.error, but the runs differ in not"),
    ],
)
def test_what_does_not_fit_is_one_message(norms, options, message):
    with pytest.raises(InputError) as error:
        summarize(norms, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_runs_without_a_validation_split_cannot_be_selected_on_it(norms):
    for path in norms.glob("*/results.json"):
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "validation"}))
    with pytest.raises(InputError, match=r"no validation split; set data\.validation"):
        summarize(norms, by=(), select="validation.error")


def test_a_metric_that_only_some_runs_have(norms):
    path = norms / "norm=layer,seed=1" / "results.json"
    path.write_text(json.dumps({"test": {"loss": 1.0}, "steps": 100, "seconds": 1.0}))
    with pytest.raises(InputError, match=r"metric is test\.error, which 1 of 10 finished runs do not have"):
        summarize(norms)


def test_two_runs_with_the_same_settings_and_seed(norms):
    shutil.copytree(norms / "norm=none,seed=1", norms / "copy")
    with pytest.raises(InputError, match="copy and norm=none,seed=1 have the same settings and seed"):
        summarize(norms)


def test_folders_that_are_not_those_of_a_sweep_with_a_finished_point(tmp_path):
    with pytest.raises(InputError, match="missing is not a folder"):
        summarize(tmp_path / "missing")
    with pytest.raises(InputError, match="has no run folders"):
        summarize(tmp_path)
    point = write_point(tmp_path, {"seed": 0}, status="unfinished")
    for seed in (1, 2):
        write_point(tmp_path, {"seed": seed}, status="failed")
    with pytest.raises(InputError, match=r"has no finished point \(2 failed, 1 unfinished\)"):
        summarize(tmp_path)
    with pytest.raises(InputError, match=f"is the folder of one run; give the folder above it, {tmp_path}"):
        summarize(point)
    (point / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        summarize(tmp_path)


def test_settings_compete_that_have_the_most_seeds_and_the_others_are_listed(tmp_path):
    def write(norm, rate, validation, statuses):
        for seed, status in enumerate(statuses):
            changes = {"model.norm": norm, "optimizer.learning_rate": rate, "seed": seed}
            write_point(tmp_path, changes, status=status, validation=validation)

    write("none", 0.1, 0.5, ["finished"] * 3)
    write("none", 0.2, 0.1, ["finished"])  # The best, but by one seed.
    write("none", 0.3, 0.2, ["finished", "finished", "diverged"])
    write("batch", 0.1, 0.2, ["finished", "finished", "unfinished"])
    write("batch", 0.2, 0.1, ["finished", "finished", "diverged"])
    write("batch", 0.3, 0.3, ["finished", "finished"])
    table = summarize(tmp_path, by="model.norm", select="validation.error")
    assert chosen(table) == {"none": 0.1, "batch": 0.1}
    assert table.notes[1] == (
        "Not considered, because other settings have more finished or fewer diverged seeds: "
        "batch with 0.2 (2 finished, 1 diverged); none with 0.2 (1 finished); none with 0.3 (2 finished, 1 diverged)."
    )
    assert table.notes[1] in table.markdown()


@pytest.mark.parametrize(
    ("path", "values", "baselines"),
    [
        ("data.mean", [(0.1, 0.2, 0.3), (0.0,)], [(0.1, 0.2, 0.3), [0.1, 0.2, 0.3], "(0.1, 0.2, 0.3)", "0.1,0.2,0.3"]),
        ("data.mean", [(0.5,), (0.0,)], [(0.5,), "(0.5,)", "[5e-1]", "(0.50)"]),
        ("optimizer.clip_norm", [None, 1.0], ["none", "None", "NONE"]),
        ("augment.flip", [True, False], [True, "True", "true"]),
        ("optimizer.learning_rate", [0.012345678, 0.1], [0.012345678, "0.012345678", "1.2345678e-2"]),
        ("model.norm", [BatchNorm(momentum=0.99), "none"], [BatchNorm(momentum=0.99), "batchnorm(momentum=0.99)"]),
        ("epochs", [3, 1], [3, np.int64(3), "3.0"]),
    ],
)
def test_a_baseline_may_be_a_value_or_its_text_in_any_spelling(tmp_path, path, values, baselines):
    for i, value in enumerate(values):
        write_point(tmp_path, {path: value}, name=f"{i}", error=i / 100)
    for baseline in baselines:
        assert summarize(tmp_path, baseline=baseline).baseline == summarize(tmp_path).rows[0].label


def test_a_baseline_of_several_settings_may_be_a_sequence(tmp_path):
    for norm in ("none", "batch"):
        write_point(tmp_path, {"model.norm": norm, "optimizer.clip_norm": 1.0 if norm == "none" else None})
    for baseline in (("none", 1.0), "none,1", "NONE, 1.0"):
        assert summarize(tmp_path, baseline=baseline).baseline == "none, 1"


def test_a_baseline_without_a_finished_run_is_said(norms):
    write_point(norms, {"model.norm": "group", "seed": 0}, status="diverged")
    table = summarize(norms, baseline="group")
    assert table.notes == ("There are no differences from group, because none of its runs is finished.",)
    assert "difference from group" not in table.text()
    write_point(norms, {"model.norm": "instance", "seed": 99})
    (note,) = summarize(norms, baseline="instance").notes
    assert note.endswith("from instance, because no other row has a finished run of its seeds.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"by": "optimizer.momentum"},
            "by has optimizer.momentum, which is 0.9 in every run; the runs differ in",
        ),
        ({"by": 3}, "by is 3; it must be the dotted path of a setting, or a list of them"),
        ({"by": [3]}, r"by is \[3\]; it must be the dotted path"),
        ({"metric": 3}, "metric is 3; it must be the name of a number in results.json"),
        ({"select": 3}, "select is 3; it must be the name of a number"),
        ({"metric": None}, "metric is None; it must be"),
    ],
)
def test_arguments_that_do_not_fit(norms, options, message):
    with pytest.raises(InputError, match=message):
        summarize(norms, **options)


@pytest.mark.parametrize("folder", ["", " ", None, 3])
def test_a_folder_must_be_named(folder):
    with pytest.raises(InputError, match=f"folder is {folder!r}; give the folder of a sweep"):
        summarize(folder)
