"""`python -m jaxcnn bench`: its arguments, its output and its files."""

import json

import pytest

from jaxcnn.__main__ import main
from jaxcnn.bench.chart import speed_chart
from jaxcnn.bench.process import WorkerError
from jaxcnn.bench.summary import speed_ratio, summarize
from jaxcnn.bench.tables import markdown
from jaxcnn.cli import bench as command
from jaxcnn.cli.report import update_tables


def variant(milliseconds, rounds=5, **facts):
    facts = {"platform": "cpu", "device": "cpu", "compile_seconds": 1.0, "temporary_bytes": 5_000_000} | facts
    facts |= {"first_step_seconds": 3.0, "peak_memory_bytes": 400_000_000}
    times = ([[0.9 * milliseconds, milliseconds], [milliseconds, 1.1 * milliseconds]] * 3)[:rounds]
    return facts | summarize(times, images=8, operations=1e9, peaks=[200.0] * rounds)


def compared(case, mode, libraries, *, seconds, threads, report):
    """Replace `compare`; torch fails in a forward pass."""
    report("runs")
    variants = {"jaxcnn": variant(1500.0), "flax": variant(6000.0)}
    variants["torch"] = variant(1200.0, compile_seconds=None, temporary_bytes=None)
    variants = {name: variants[name] for name in libraries}
    errors = {"torch": "killed by SIGKILL"} if mode == "forward" and variants.pop("torch", None) else {}
    ratios = {name: speed_ratio(variants["jaxcnn"], v) for name, v in variants.items() if name != "jaxcnn"}
    shape = {"batch_size": case.batch_size, "image": list(case.shape), "gflop": 1.0}
    found = {"case": case.name, "mode": mode, "dtype": case.model.dtype, **shape}
    return found | {"variants": variants, "ratios": ratios, "errors": errors}


def launched(config, threads):
    if "digits" in str(config):
        return {"cold_seconds": 12.34, "cached_seconds": 5.0}
    raise WorkerError("exit status 2: cifar10 is not prepared")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(command, "compare", compared)
    monkeypatch.setattr(command, "time_launches", launched)
    monkeypatch.setattr(command, "_torch_version", lambda: "2.0")


@pytest.fixture
def kept(tmp_path, capsys):
    """Return the path and content of a file that the command wrote, with every kind of entry."""
    path = tmp_path / "bench_x.json"
    arguments = ["bench", "lenet5", "vgg_d", "--what", "steps", "launch", "--peer", "flax", "torch", "--seconds=1"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--dtype", "float32", "bfloat16", "--output", str(path)])
    assert stop.value.code == 1
    capsys.readouterr()
    found = json.loads(path.read_text())
    share = {"median": 0.012, "quartiles": [0.01, 0.02]}
    found["pipeline"] = [
        {"config": "lenet5_mnist", "batch_size": 128, "milliseconds": {"full": 9.0, "plain": 8.9, "ready": 8.8},
         "share": share, "plain_share": share},
    ]  # fmt: skip
    found["probes"] = [
        {"case": "lenet5", "batch_size": 256, "image": [32, 32, 1], "milliseconds": {"plain": 20.0, "probed": 26.0},
         "ratio": {"median": 1.3, "quartiles": [1.25, 1.35]}, "compile_seconds": {"plain": 2.0, "probed": 5.0}},
        {"case": "vgg_d_bn_32", "error": "killed by SIGKILL"},
    ]  # fmt: skip
    found["corruptions"] = [
        {"case": "MNIST", "batch_size": 256, "image": [28, 28, 1],
         "milliseconds": {"fog": {"jaxcnn": 10.0, "plain": 1500.0}, "snow": {"jaxcnn": 5.5, "plain": 11.0}},
         "ratios": {"fog": {"median": 149.0, "quartiles": [140, 160]}, "snow": {"median": 2.0, "quartiles": [1, 3]}},
         "total": 97.48},
    ]  # fmt: skip
    return path, found


def cells(table, first):
    """Return the cells of the Markdown row with this first cell."""
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_file_has_everything(kept):
    path, found = kept
    assert [(m["case"], m["mode"], m["dtype"]) for m in found["steps"]] == [
        (case, mode, dtype)
        for case in ("lenet5", "vgg_d") for mode in ("train", "forward") for dtype in ("float32", "bfloat16")
    ]  # fmt: skip
    source = found["provenance"]
    assert source["threads"] >= 1 and source["seconds"] == 1.0 and source["device"] == "cpu" and source["processor"]
    assert source["command"].startswith("python -m jaxcnn") and source["versions"]["torch"] == "2.0"
    assert source["versions"]["jax"] and "revision" in source["git"]
    assert found["launch"] == [
        {"config": "lenet5_digits", "cold_seconds": 12.34, "cached_seconds": 5.0},
        {"config": "vgg_a_cifar10", "error": "exit status 2: cifar10 is not prepared"},
    ]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_markdown_shows_the_content_of_the_file(kept):
    _, found = kept
    text = markdown(found)
    ratios, libraries = text.split("**Libraries**")
    assert found["provenance"]["processor"] in ratios
    assert cells(ratios, "lenet5 train") == [
        "lenet5 train", "256 of 32x32x1", "1,500.0", "6,000.0", "1,200.0", "4.00 (4.00 to 4.00)", "0.80 (0.80 to 0.80)",
    ]  # fmt: skip
    assert cells(ratios, "vgg_d forward bfloat16")[4:] == ["", "4.00 (4.00 to 4.00)", ""]
    assert cells(libraries, "lenet5 train | PyTorch") == [
        "lenet5 train", "PyTorch", "1,200.0", "1,110.0 to 1,200.0", "7", "0.8", "0%", "", "3.0", "400", "",
    ]  # fmt: skip
    assert cells(libraries, "vgg_d train | jaxcnn")[7:] == ["1.0", "3.0", "400", "5"]
    assert cells(text, "lenet5_digits") == ["lenet5_digits", "12.3", "5.0"]
    assert cells(text, "lenet5_mnist")[1:] == ["128", "9.00", "1.2% (1.0% to 2.0%)", "1.2% (1.0% to 2.0%)"]
    assert "vgg_d forward, torch: killed by SIGKILL" in text
    assert "launch vgg_a_cifar10: exit status 2: cifar10 is not prepared" in text
    row = ["lenet5", "256 of 32x32x1", "20.0", "26.0", "1.30 (1.25 to 1.35)", "2.0", "5.0"]
    assert f"| {' | '.join(row)} |" in text and "probes vgg_d_bn_32: killed by SIGKILL" in text
    assert cells(text, "fog") == ["fog", "10.00", "1,500.00", "149.0 (140.0 to 160.0)"]
    assert cells(text, "snow") == ["snow", "5.50", "11.00", "2.0 (1.0 to 3.0)"]
    assert "| 15.50 | 1,511.00 | 97.5 |" in text.replace("**", "")
    # Records of earlier versions have no probes.
    assert "Price of the readings" not in markdown({name: part for name, part in found.items() if name != "probes"})


@pytest.mark.parametrize(
    ("rounds", "shown", "bars"), [(2, "too few rounds", 0), (3, "0.80 (3 rounds)", 1), (5, "0.80 (0.80 to 0.80)", 1)]
)
def test_a_ratio_is_shown_only_with_enough_rounds(kept, rounds, shown, bars, tmp_path):
    _, found = kept
    del found["steps"][1:]
    (step,) = found["steps"]
    step["variants"] = {"jaxcnn": variant(1500.0), "torch": variant(1200.0, rounds)}
    del step["ratios"]["flax"]
    ratios, libraries = markdown(found).split("**Libraries**")
    assert cells(ratios, "lenet5 train")[4] == shown
    assert cells(libraries, "lenet5 train | PyTorch")[6] == ("0%" if bars else "")
    drawn = speed_chart(found, tmp_path / "a.svg")
    assert (drawn is not None) == bool(bars)


def test_a_record_with_one_peak_for_all_rounds_shows_no_share_but_the_ratio_of_its_rounds(kept):
    _, found = kept
    del found["steps"][1:]
    (step,) = found["steps"]
    for v in step["variants"].values():
        del v["round_peak_gflops"]
        v |= {"peak_gflops": 1.0, "utilization": 2.38}
    step["ratios"]["torch"] = {"ratio": 9.9, "quartiles": [0.7, 0.8], "rounds": 5}
    ratios, libraries = markdown(found).split("**Libraries**")
    assert cells(ratios, "lenet5 train")[6] == "0.80 (0.80 to 0.80)"
    assert cells(libraries, "lenet5 train | jaxcnn")[6] == ""


def test_the_readme_is_made_from_the_files(kept, tmp_path):
    path, _ = kept
    readme, marks = tmp_path / "README.md", "<!-- bench: begin -->\n\n<!-- bench: end -->\n"
    readme.write_text(f"before\n{marks}after\n")
    update_tables(readme, tmp_path)
    shown = markdown(json.loads(path.read_text()))
    assert readme.read_text() == f"before\n<!-- bench: begin -->\n{shown}\n<!-- bench: end -->\nafter\n"
    other = tmp_path / "other"
    other.mkdir()
    readme.write_text(marks)
    assert main(["bench", "lenet5", "--mode=train", f"--output={other}/bench_y.json", f"--readme={readme}"]) == 0
    assert cells(readme.read_text(), "lenet5 train | 256 of 32x32x1")[2] == "1,500.0"
    # Without a peer there is no chart.
    assert not list(other.glob("*.png"))


def test_results_are_printed(capsys):
    assert main(["bench", "lenet5", "--mode=train", "--peer=torch", "--batch_size=4", "--threads=1"]) == 0
    out, err = capsys.readouterr()
    assert "4 of 32x32x1" in out and "0.80 (0.80 to 0.80)" in out and "1 threads each" in out
    assert "lenet5 train: jaxcnn 1,500.0 ms, PyTorch 1,200.0 ms" in err
    assert main(["bench", "lenet5", "--mode=train", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["variants"].keys() == {"jaxcnn"}
    with pytest.raises(SystemExit):
        main(["bench", "lenet5", "--peer=torch", "--format=markdown"])
    out, err = capsys.readouterr()
    assert "lenet5 forward, torch: killed by SIGKILL" in out
    assert "error: lenet5 forward, torch: killed by SIGKILL\n" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vgg_x"], "case 'vgg_x' is unknown; there are lenet5, vgg_d_bn_32, alexnet, vgg_d, "),
        (["--threads=0"], "threads is 0; it must be from 1 to "),
        (["--seconds=0"], "seconds is 0.0; it must be above 0."),
        (["--batch_size=0"], "batch_size is 0; it must be at least 1."),
        (["--output=/no/such/folder/a.json"], "output is '/no/such/folder/a.json'; it must be a .json file in a fol"),
        (["--output=a.txt"], "output is 'a.txt'; it must be a .json file"),
        (["--readme=README.md"], "output is None; with readme it must be a file bench_NAME.json."),
        (["--output=bench_a.json", "--readme=/no/such/README.md"], "readme /no/such/README.md cannot be read: No such"),
        (["--output=a.json", "--readme=README.md"], "output is a.json; with readme it must be a file bench_N"),
        (["--peer=torch"], "peer torch needs PyTorch, which is not installed: pip install torch."),
    ],
)
def test_errors_are_one_line_before_anything_is_measured(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(command, "compare", None)
    monkeypatch.setattr(command, "_torch_version", lambda: None)
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {words}") and err.count("\n") == 1


def test_a_chart_against_flax_alone(kept, tmp_path):
    _, found = kept
    for m in found["steps"]:
        m["variants"].pop("torch", None)
        m["ratios"].pop("torch", None)
    path = tmp_path / "a.svg"
    assert speed_chart(found, path) == path
    assert "Speed, plain flax = 1" in path.read_text() and " 4.00" in path.read_text()


def test_an_installed_package_has_no_experiments_to_measure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert main(["bench", "--what", "steps", "launch"]) == 2
    assert "run this command in a clone of the repository" in capsys.readouterr().err
