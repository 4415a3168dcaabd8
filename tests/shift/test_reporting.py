"""The report about a shift: what it compares, what it says, and its files."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.__main__ import main
from jaxcnn.data.targets import Target
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import load_network, read, report
from jaxcnn.shift.answers import answers
from jaxcnn.shift.populations import read_populations
from jaxcnn.shift.repairs.result import Repair
from jaxcnn.shift.report_page import report_files
from tests.plots.pages import check_fits, check_self_contained, needs_browser

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"
TARGET = "corruption:gaussian_noise:5"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = shutil.copytree(FINISHED, tmp_path_factory.mktemp("reported") / "run")
    record = json.loads((run / "config.json").read_text())
    record["data"]["fake"]["test"] = 400
    (run / "config.json").write_text(json.dumps(record))
    return run


@pytest.fixture(scope="module")
def found(run):
    return report(run, TARGET)


def unlabelled(target):
    return Target(np.asarray(target.images), None, "images without labels")


def test_a_corruption_is_compared_with_other_images_of_the_test_split(run):
    experiment = load_saved(run)
    pair = read_populations(experiment, TARGET)
    clean = read_populations(experiment, "corruption:contrast:1")
    assert len(pair.source.labels) == len(pair.target.labels) == 200
    # The same halves, whatever the corruption; every image of the other half is another one.
    np.testing.assert_array_equal(pair.source.images, clean.source.images)
    np.testing.assert_array_equal(pair.target.labels, clean.target.labels)
    assert not np.array_equal(pair.target.images, clean.target.images)
    flat = [np.asarray(x, float).reshape(200, -1) for x in (pair.source.images, clean.target.images)]
    alike = [np.corrcoef(a, b)[0, 1] for a in flat[0] for b in flat[1]]
    assert max(alike) < 0.9999


def test_a_target_of_other_images_keeps_all_of_them(run):
    experiment = load_saved(run)
    some = read_populations(experiment, TARGET).target
    other = Target(some.images[:20], some.labels[:20], "some")
    pair = read_populations(experiment, other, most=15)
    assert len(pair.source.labels) == len(pair.target.labels) == 15
    assert len(read_populations(experiment, other).target.labels) == 20


def test_the_report_says_what_its_parts_say(run, found):
    pair = read_populations(load_saved(run), TARGET)
    network = load_network(run)
    outputs = [read(network, each.images, each.labels) for each in (pair.source, pair.target)]
    accuracies = [float((each.predictions == each.labels).mean()) for each in outputs]
    assert [found.cost.source.accuracy, found.cost.target.accuracy] == pytest.approx(accuracies)
    assert found.counts == {"source": 200, "target": 200}
    made = {each.name: each for each in found.repairs if each.log_probabilities is not None}
    assert {*found.scores} == {*made}
    for name, scores in found.scores.items():
        right = made[name].log_probabilities.argmax(axis=1) == outputs[1].labels
        assert scores.after.accuracy == pytest.approx(right.mean())
    assert found.layers[0].features == "input"
    assert {*found.images} == {"source", "target", "most unlike the source"}
    assert all(images.min() >= 0 and images.max() <= 1 for images in found.images.values())


def test_every_number_is_in_the_json_and_reads_back(run, found, tmp_path):
    files = report_files(found, title="run on noise", command="the command")
    files["report.json"](tmp_path / "report.json")
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["cost"]["target"]["accuracy"] == found.cost.target.accuracy
    assert [test["p_holm"] for test in record["shift"]["tests"]] == [t.p_holm for t in found.findings.detections]
    assert {each["name"] for each in record["repairs"]} == {each.name for each in found.repairs}
    assert {*record["answers"]} == {"shift", "where", "kind", "cost", "repairs", "next"}
    assert record["command"] == "the command" and record["recommended"] in (None, *found.scores)


def test_without_labels_nothing_is_scored_and_the_cost_is_estimated(run, tmp_path):
    pair = read_populations(load_saved(run), TARGET)
    found = report(run, unlabelled(pair.target))
    said = answers(found)
    assert not found.scores and found.cost.target is None
    assert "estimated" in said.cost and any("Label 100 target images" in text for text in said.next)
    check_self_contained(page(found, tmp_path))


def test_recommendations_ignore_the_labels_of_the_target(run, found):
    pair = read_populations(load_saved(run), TARGET)
    wrong = Target(pair.target.images, (pair.target.labels + 1) % 10, "wrong labels")
    other = report(run, wrong)
    assert (other.recommended and other.recommended.name) == (found.recommended and found.recommended.name)


@pytest.mark.parametrize(
    ("made", "doubted", "name"),
    [
        (["prediction_time_bn", "blended_bn_256", "adabn", "tent"], [], "adabn"),
        (["prediction_time_bn", "blended_bn_256", "adabn"], ["adabn"], "blended_bn_256"),
        (["adabn", "label_shift_correction"], [], "label_shift_correction"),
        (["prediction_time_bn"], ["prediction_time_bn"], "prediction_time_bn"),
        (["tent", "last_layer"], [], None),
    ],
)
def test_what_is_recommended(found, made, doubted, name):
    repairs = tuple(
        Repair(each, "", np.zeros((1, 2)), np.zeros((1, 2)), warnings=("doubtful",) * (each in doubted))
        for each in made
    )
    refused = Repair("importance_weighting", "", np.zeros((1, 2)), refused="no overlap")
    chosen = dataclasses.replace(found, repairs=(refused, *repairs)).recommended
    assert (chosen and chosen.name) == name


def changed(found, *, p, drop, interval):
    tests = tuple(dataclasses.replace(each, p_holm=p) for each in found.findings.detections)
    cost = dataclasses.replace(found.cost, accuracy_drop=drop, drop_interval=interval)
    return dataclasses.replace(found, findings=dataclasses.replace(found.findings, detections=tests), cost=cost)


@pytest.mark.parametrize(
    ("p", "drop", "interval", "start"),
    [
        (0.5, 0.0, (-0.1, 0.1), "Keep the network. With 200 images no test finds a shift"),
        (0.01, 0.0, (-0.1, 0.1), "Keep the network: the shift is found"),
        (0.5, 0.2, (0.1, 0.3), "The accuracy falls although no test finds a shift"),
    ],
)
def test_advice_tells_detected_from_harmful(found, p, drop, interval, start):
    assert answers(changed(found, p=p, drop=drop, interval=interval)).next[0].startswith(start)


def page(found, folder):
    report_files(found, title="a <run> on noise", command="python -m jaxcnn shift report run")["report.html"](
        folder / "a"
    )
    return (folder / "a").read_text()


def test_the_page_asks_for_nothing_else_and_answers_every_question(found, tmp_path):
    text = page(found, tmp_path)
    parsed = check_self_contained(text)
    assert "a &lt;run&gt; on noise" in text
    for heading in ("Is there a shift?", "Where?", "What kind?", "What does it cost?", "What repairs it?"):
        assert heading in parsed.texts
    assert parsed.tags.count("svg") == parsed.tags.count("figure") >= 6


@needs_browser
@pytest.mark.parametrize(("width", "columns"), [(390, 1), (1280, 2)])
def test_in_a_browser_the_page_of_a_shift_fits(found, width, columns, tmp_path):
    assert check_fits(page(found, tmp_path), width, columns, tmp_path)["svgs"] >= 6


def test_the_command_prints_the_answers_and_writes_three_files(run, found, tmp_path, capsys):
    assert main(["shift", "report", str(run), f"--target={TARGET}", f"--out={tmp_path / 'out'}"]) == 0
    out = capsys.readouterr().out
    assert answers(found).cost in out and "Next:" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.png", "report.json"}
    assert (tmp_path / "out/report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("corruption:gausian_noise:5", "gaussian_noise"),
        ("corruption:fog:6", "from 1 to 5"),
        ("nothing", "it must be"),
        ("missing.npy:1", "does not exist"),
        ("tfds:nothing_here", "nothing_here"),
    ],
)
def test_a_wrong_target_gets_one_message_and_writes_nothing(run, tmp_path, target, words, capsys):
    assert main(["shift", "report", str(run), f"--target={target}", f"--out={tmp_path / 'out'}"]) == 2
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err and not (tmp_path / "out").exists()


def test_what_cannot_be_told_is_said(run):
    pair = read_populations(load_saved(run), TARGET)
    found = report(run, Target(pair.target.images[:12], pair.target.labels[:12], "few"))
    assert found.kind is None and answers(found).kind.startswith("It cannot be told: no class has 10 images")
    assert not found.classes and "No class has enough images" in answers(found).where
    assert found.to_json()["kind"] == {"refused": found.kind_refused}


def test_a_target_that_is_the_test_split_is_refused(run):
    experiment = load_saved(run)
    pair = read_populations(experiment, TARGET)
    test = data.load(experiment.data, experiment.seed, need_train=False).test
    with pytest.raises(InputError, match="identical to the source"):
        read_populations(experiment, Target(test.images, test.labels, "the same"))
    with pytest.raises(InputError, match="at least"):
        report(run, Target(pair.target.images[:3], pair.target.labels[:3], "few"))
