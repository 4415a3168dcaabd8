"""Results are stored with one line per seed, and the README's tables are made from them."""

import json
import re
import shutil
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest

from jaxcnn import Experiment, InputError
from jaxcnn.__main__ import main
from jaxcnn.cli.report import collect, results_table, update_tables, zoo_table
from jaxcnn.config import to_json
from jaxcnn.describe.diagram import draw
from jaxcnn.models import ZOO, LeNet5
from jaxcnn.runtime.atomic import write_json

ROOT = Path(__file__).parents[2]
RECORD = {
    "command": ["/somewhere/bin/python", "launch.py", "--config.seed=1"],
    "git": {"revision": "abc", "dirty": False},
    "versions": {"jax": "0.10.2"},
    "device_kind": "cpu",
    "time": "2026-01-01T00:00:00+00:00",
}


def make_run(folder, *, seed, error, epochs=2):
    folder.mkdir()
    write_json(folder / "config.json", to_json(Experiment(model=LeNet5(), seed=seed, epochs=epochs)))
    write_json(folder / "provenance.json", RECORD)
    test = {"accuracy": 1 - error, "error": error, "loss": 0.1, "n": 100}
    write_json(folder / "results.json", {"test": test, "steps": 4, "seconds": 60.0, "seed": seed})
    rows = [
        {"step": step, "epoch": step / 2, "split": split, "loss": 1 / step, "accuracy": 1 - error, "time": {}}
        for step in (2, 4)
        for split in ("train", "test")
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        make_run(tmp_path / f"run{seed}", seed=seed, error=error) for seed, error in ((2, 0.03), (0, 0.01), (1, 0.05))
    ]


def test_lines_are_ordered_by_seed_and_contain_no_path_of_the_machine(runs, tmp_path):
    path = collect(runs, "lenet5_digits", tmp_path / "results")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["seed"], line["test"]["error"]) for line in lines] == [(0, 0.01), (1, 0.05), (2, 0.03)]
    assert {line["command"] for line in lines} == {"python launch.py --config.seed=1"}
    assert "somewhere" not in path.read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_table_has_mean_and_spread(runs, tmp_path):
    collect(runs, "lenet5_digits", tmp_path / "results")
    row = results_table(tmp_path / "results").splitlines()[2]
    assert (
        f"| {statistics.mean((1, 5, 3)):.2f} | sd {statistics.stdev((1, 5, 3)):.2f}, 1.00 to 5.00 | 0, 1, 2 | 1.0 |"
        in row
    )


def test_readme_changes_only_between_its_marks(runs, tmp_path):
    collect(runs, "lenet5_digits", tmp_path / "results")
    readme = tmp_path / "README.md"
    marked = "<!-- {0}: begin -->\n{{}}\n<!-- {0}: end -->\n"
    text = "before\n" + marked.format("results") + "between\n" + marked.format("zoo") + "after\n"
    readme.write_text(text.format("old", "older"))
    update_tables(readme, tmp_path / "results")
    assert readme.read_text() == text.format(results_table(tmp_path / "results"), zoo_table())
    readme.write_text("no marks")
    with pytest.raises(InputError, match="has no lines"):
        update_tables(readme, tmp_path / "results")
    assert readme.read_text() == "no marks"


def test_tables_without_records_in_the_folder_stay(runs, tmp_path):
    readme = tmp_path / "README.md"
    text = "".join(f"<!-- {name}: begin -->\n{name}\n<!-- {name}: end -->\n" for name in ("claims", "sweeps", "bench"))
    readme.write_text(text + "<!-- results: begin -->\nold\n<!-- results: end -->\n")
    (tmp_path / "empty").mkdir()
    update_tables(readme, tmp_path / "empty")
    assert readme.read_text().startswith(text) and "\nold\n" in readme.read_text()
    collect(runs, "lenet5_digits", tmp_path / "results")
    update_tables(readme, tmp_path / "results")
    assert readme.read_text().startswith(text) and "[lenet5_digits]" in readme.read_text()


def test_results_of_other_seeds_are_not_lost(runs, tmp_path):
    path = collect(runs, "x", tmp_path)
    before = path.read_text()
    with pytest.raises(InputError, match="has results of seed 0, 2, which is not among these runs"):
        collect(runs[2:], "x", tmp_path)
    assert path.read_text() == before
    more = make_run(tmp_path / "run3", seed=3, error=0.02)
    assert len(collect([*runs, more], "x", tmp_path).read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--name=../x", "--name is '../x'; it must be the name of a file"),
        ("--name=", "--name is ''"),
        ("--baseline=none", "--baseline is 'none', but these are runs of one experiment"),
    ],
)
def test_options_that_do_not_fit_are_refused(option, message, runs, tmp_path, capsys):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    readme.write_text("<!-- results: begin -->\n<!-- results: end -->\n")
    name = () if option.startswith("--name") else ("--name=x",)
    assert main(["report", *map(str, runs), *name, option, f"--results={results}", f"--readme={readme}"]) == 2
    assert message in capsys.readouterr().err and not results.exists()


@pytest.mark.parametrize("text", [None, "no marks"])
def test_the_command_checks_the_readme_before_it_writes(text, runs, tmp_path, capsys):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    if text is not None:
        readme.write_text(text)
    assert main(["report", *map(str, runs), "--name=x", f"--results={results}", f"--readme={readme}"]) == 2
    words = "has no lines <!-- results: begin -->" if text else "cannot be read: No such file or directory"
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.count("\n") == 1
    assert not results.exists() and readme.exists() == (text is not None)


def test_zoo_table_has_a_row_for_every_network():
    rows = zoo_table().splitlines()[2:]
    assert len(rows) == len(ZOO)
    assert "| `vgg_d` | VGG, table 1 | 224x224x3 | 138,357,544 | 15,470,264,320 | 27.0 / 8.8 | 28.41 / 9.62 |" in rows
    assert "| `lenet5_1998` | LeNet-5, section II.B | 32x32x1 | 60,000 | 328,096 | 0.95 (MNIST) |  |" in rows


def test_runs_of_different_experiments_are_refused(runs, tmp_path):
    other = make_run(tmp_path / "other", seed=3, error=0.0, epochs=9)
    with pytest.raises(InputError, match="epochs: saved 2, now 9"):
        collect([*runs, other], "x", tmp_path / "results")
    (other / "results.json").unlink()
    with pytest.raises(InputError, match="is not finished"):
        collect([*runs, other], "x", tmp_path / "results")
    with pytest.raises(InputError, match="runs is empty"):
        collect([], "x", tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["provenance.json", "results.json"])
def test_a_run_with_a_damaged_file_is_refused(runs, tmp_path, name):
    (runs[1] / name).write_text("{}")
    with pytest.raises(InputError, match=f"run0/{name} is damaged"):
        collect(runs, "mine", tmp_path)
    (runs[1] / name).unlink()
    with pytest.raises(InputError, match="run0"):
        collect(runs, "mine", tmp_path)


def test_runs_from_other_weights_are_refused_but_moved_weights_are_not(runs, tmp_path):
    def start_from(run, **source):
        write_json(run / "provenance.json", RECORD | source)

    for run in runs:
        start_from(run, init_from="/a/source", init_from_digest="ab")
    start_from(runs[1], init_from="/moved/source", init_from_digest="ab")
    collect(runs, "x", tmp_path / "results")
    for other in ({"init_from": "/a/source", "init_from_digest": "cd"}, {"init_from": "/b", "init_from_digest": None}):
        start_from(runs[1], **other)
        with pytest.raises(InputError, match="init_from: /a/source and"):
            collect(runs, "x", tmp_path / "results")


def test_the_committed_readmes_are_made_from_the_committed_results(tmp_path):
    copy, results = tmp_path / "README.md", tmp_path / "results"
    shutil.copytree(ROOT / "configs" / "results", results)
    copy.write_text((ROOT / "README.md").read_text())
    update_tables(copy, results)
    update_tables(results / "README.md", results)
    assert copy.read_text() == (ROOT / "README.md").read_text()
    assert (results / "README.md").read_text() == (ROOT / "configs" / "results" / "README.md").read_text()


@pytest.mark.parametrize("name", ZOO)
def test_the_committed_diagram_is_up_to_date_and_shown(name, tmp_path):
    def words(path):
        return [element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]

    committed = ROOT / "configs" / "results" / f"diagram_{name}.svg"
    entry = ZOO[name]
    assert words(committed) == words(draw(entry.model, entry.shape, tmp_path / "drawn.svg", title=name))
    shown = (ROOT / "README.md").read_text() + (committed.parent / "README.md").read_text()
    assert re.search(rf"\((configs/results/)?{committed.name}\)", shown)


def test_the_summary_of_a_sweep_is_stored_and_becomes_a_table(tmp_path):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    for epochs, error in ((1, 0.5), (2, 0.25)):
        for seed in (0, 1):
            make_run(sweep / f"{epochs}{seed}", seed=seed, error=error + seed / 100, epochs=epochs)
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- sweeps: begin -->\n<!-- sweeps: end -->\nafter\n")
    results = tmp_path / "results"
    arguments = [str(sweep), "--name=epochs", "--baseline=1", f"--results={results}", f"--readme={page}"]
    assert main(["report", *arguments]) == 0
    record = json.loads((results / "sweeps" / "epochs.json").read_text())
    assert [row["values"] for row in record["summary"]["rows"]] == [{"0": 0.25, "1": 0.26}, {"0": 0.5, "1": 0.51}]
    assert (results / "sweeps" / "epochs.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in json.dumps(record)
    text = page.read_text()
    assert "`python launch.py --config.seed=1`:" in text and text.startswith("before") and text.endswith("after\n")
    assert re.search(r"\| 2 +\| +25.50 \|", text) and re.search(r"\| 2 +\| +−25.00 \|", text)


def test_the_summary_of_a_sweep_with_a_damaged_point_is_not_stored(tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    for seed in (0, 1):
        make_run(tmp_path / "sweep" / f"{seed}", seed=seed, error=0.5)
    damaged = tmp_path / "sweep" / "1" / "config.json"
    damaged.write_text("{")
    page = tmp_path / "README.md"
    page.write_text("<!-- sweeps: begin -->\n<!-- sweeps: end -->\n")
    arguments = [str(tmp_path / "sweep"), "--name=seeds", f"--results={tmp_path / 'results'}", f"--readme={page}"]
    assert main(["report", *arguments]) == 2
    assert f"{damaged} is damaged" in capsys.readouterr().err and not (tmp_path / "results").exists()
