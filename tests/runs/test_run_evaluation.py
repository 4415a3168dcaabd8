import json
import sys
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from jaxcnn import Augment, Data, Experiment, Fake, InputError, create_state, evaluate_run
from jaxcnn.__main__ import main
from jaxcnn.config import to_json
from jaxcnn.data import center_crop, load, make_preprocess
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten
from jaxcnn.models import Chain
from jaxcnn.runs import checkpoint
from jaxcnn.runs.run_evaluation import parse_scales
from jaxcnn.runtime import progress
from tests.tiny import get_config

EXPERIMENT = Experiment(
    model=Chain(
        (
            Conv(4, kernel=3, stride=3, padding=1, name="conv1"),
            BatchNorm(name="norm1"),
            Activation("relu", name="act1"),
            Conv(4, kernel=2, name="conv2"),
            BatchNorm(name="norm2"),
            Flatten(name="flatten"),
            Dense(7, name="fc3"),
        )
    ),
    data=Data(
        source="fake",
        fake=Fake(shape=(12, 13, 1), num_classes=7, train=43, test=30),
        batch_size=16,
        eval_batch_size=16,
        mean=(0.4,),
        std=(0.3,),
    ),
    augment=Augment(crop=9),
)


def write(folder, experiment, shape=None):
    """Write a run with random weights, or without a checkpoint if the shape is None."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_json(experiment)))
    if shape is None:
        return None
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: experiment.model.init(jax.random.key(0), np.zeros((1, *shape)), train=False))
    variables = jax.tree.map(lambda x: rng.uniform(0.2, 1, x.shape).astype(np.float32), shapes)
    variables["params"] = jax.tree.map(lambda x: (x - 0.6).astype(np.float32), variables["params"])
    state = create_state(variables, optax.identity()).replace(step=np.int32(300))
    with checkpoint.Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(state, loop_state={}, accuracies={})
    return variables


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    return folder, write(folder, EXPERIMENT, (9, 9, 1))


def test_center_is_the_network_on_the_test_images(run):
    folder, variables = run
    (found,) = evaluate_run(folder)
    test = load(EXPERIMENT.data, EXPERIMENT.seed).test
    x = make_preprocess(EXPERIMENT.data)(center_crop(test.images, 9))
    logits = np.asarray(EXPERIMENT.model.apply(variables, x, train=False), np.float64)
    losses = np.log(np.exp(logits).sum(-1)) - logits[range(30), test.labels]
    assert found.nll == pytest.approx(losses.mean(), rel=1e-5)
    assert found.top1_error == np.mean(logits.argmax(-1) != test.labels)
    assert found.top5_error is not None and found.ece > 0 and found.seconds > 0
    assert (found.protocol, found.batch_stats, found.part, found.views) == ("center", "ema", "test", 1)
    assert (found.crop, found.scales, found.flip, found.n) == ((9, 9), (12,), False, 30)


def test_full_pass_equals_the_training_split_as_one_batch(run):
    """Both agree in images, crop and preprocessing, and the smaller last batch is included."""
    options = {"part": "train", "batch_size": 43}
    full, batch = evaluate_run(run[0], batch_stats=("full_pass", "batch"), **options)
    assert full.n == 43 and full.nll == pytest.approx(batch.nll, rel=1e-4)
    assert batch.top1_error == full.top1_error


def test_every_pair_is_evaluated_and_nothing_is_written(run):
    folder = run[0]
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*"))
    options = {"protocol": ("dense", "center"), "batch_stats": ("ema", "algorithm2"), "scales": (12,)}
    found = evaluate_run(folder, **options, stats_batches=1)
    assert sorted(path.stat().st_mtime_ns for path in folder.rglob("*")) == before
    pairs = [("dense", "ema"), ("center", "ema"), ("dense", "algorithm2"), ("center", "algorithm2")]
    assert [(e.protocol, e.batch_stats) for e in found] == pairs
    assert len({e.nll for e in found}) == 4
    (more,) = evaluate_run(folder, batch_stats="algorithm2", stats_batches=2)
    assert more.nll != found[3].nll


def test_evaluations_are_printed_and_written(run, tmp_path, capsys):
    output = tmp_path / "out.json"
    arguments = ["evaluate", str(run[0]), "--scales=12,15", "--flip=True"]
    assert main([*arguments, "--format=json", f"--output={output}"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record == json.loads(output.read_text())[0]
    assert record["views"] == 4 and record["scales"] == [12, 15] and record["flip"] is True
    assert main([*arguments, f"--output={tmp_path}/none/out.json"]) == 2
    table, errors = capsys.readouterr()
    for nameless in ("", "/"):
        assert main([*arguments, f"--output={nameless}"]) == 2
        assert f"output {nameless} cannot be written: Is a directory" in capsys.readouterr().err
    for word in ("center + flips", "12,15", "ema", f"{record['top1_error']:.2%}", f"{record['nll']:.4f}"):
        assert word in table
    assert "…" not in table
    assert errors.splitlines()[-1].startswith("error: output ") and errors.count("\n") == 2


def test_views_are_not_mirrored_if_training_images_were_not(run, tmp_path, capsys):
    arguments = ["evaluate", str(run[0]), "--protocol=center,multi_crop", "--scales=12", "--format=json"]
    left_out = "multi_crop without mirrored views, as the run was trained; --flip=True adds them\n"
    for option, views, said in (
        ([], [1, 25], left_out),
        (["--flip=True"], [2, 50], "center and multi_crop with mirrored views, although the run was trained without; "),
        (["--flip=False"], [1, 25], left_out),
    ):
        assert main([*arguments, *option]) == 0
        out, errors = capsys.readouterr()
        assert [record["views"] for record in json.loads(out)] == views
        assert errors.startswith(said) and errors.count("\n") == 1
    mirroring = tmp_path / "run"
    write(mirroring, replace(EXPERIMENT, augment=Augment(crop=9, flip=True)), (9, 9, 1))
    assert main([arguments[0], str(mirroring), *arguments[2:]]) == 0
    out, errors = capsys.readouterr()
    assert [record["views"] for record in json.loads(out)] == [1, 50] and errors == ""


def test_long_evaluations_show_progress(run, capsys, monkeypatch):
    """With these intervals every line is due at once; the last unit of each task is not reported."""
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    options = {"protocol": ("center", "ten_crop"), "scales": (12,), "batch_stats": ("ema", "pooled", "full_pass")}
    evaluate_run(run[0], **options, stats_batches=2)
    assert capsys.readouterr().err == ""
    evaluate_run(run[0], **options, stats_batches=2, verbose=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if " of " in line]
    steps = {}
    for line in lines:
        what, _, counts = line.partition(": ")
        steps.setdefault(what, []).append(counts)
    assert steps.pop("center, ema") == ["1 of 2 views of a batch"]
    assert steps.pop("ten_crop, pooled") == [f"{done} of 10 views of a batch" for done in range(1, 10)]
    # 43 training images are three batches of 16, all read for each of the two norms.
    assert steps.pop("statistics, pooled") == ["1 of 2 batches"]
    assert steps.pop("statistics, full_pass") == [f"{done} of 6 batches" for done in range(1, 6)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--protocol=center,densee"], "protocol 'densee' is unknown; it must be one of center, ten_crop, "),
        (["--crop=14"], "crop is 14x14; images at 12x13 are smaller"),
        (["--crop=12"], "crop is 12x12; the network's weights are for images of another size"),
        (["--crop=2"], "images are 2x2; this network needs at least"),
        (["--protocol=dense", "--scales=6"], "images are 6x6; this network needs at least"),
        (["--scales=36,x"], "scales is '36,x'"),
        (["--batch_stats=em"], "batch_stats 'em' is unknown; there are ema"),
        (["--part=validation"], "part is 'validation', but this run has no validation split"),
        (["--batch_size=0"], "batch_size is 0"),
    ],
)
def test_bad_input_is_one_line(run, arguments, words, capsys):
    assert main(["evaluate", str(run[0]), *arguments]) == 2
    out, errors = capsys.readouterr()
    assert errors.startswith(f"error: {words}") and errors.count("\n") == 1 and not out


def test_a_run_that_cannot_be_tested(tmp_path):
    with pytest.raises(InputError, match="is not a run folder"):
        evaluate_run(tmp_path / "none")
    write(tmp_path / "run", EXPERIMENT)
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        evaluate_run(tmp_path / "run")


def test_missing_data_are_reported(tmp_path):
    write(tmp_path / "run", replace(EXPERIMENT, data=Data(source="tfds", name="mnist")), (9, 9, 1))
    with pytest.raises(InputError, match=f"'mnist' is not prepared in {tmp_path}/data"):
        evaluate_run(tmp_path / "run", data_dir=str(tmp_path / "data"))


def test_test_arrays_are_sufficient(tmp_path):
    """The results equal those with the training arrays."""
    test, train = (getattr(load(EXPERIMENT.data, 0), part) for part in ("test", "train"))
    arrays = {"test_images": test.images, "test_labels": test.labels}
    both = arrays | {"train_images": train.images, "train_labels": train.labels}
    of_arrays = replace(EXPERIMENT, data=replace(EXPERIMENT.data, source="arrays", validation=0.2))
    write(tmp_path / "run", of_arrays, (9, 9, 1))
    for options in ({"protocol": ("center", "dense"), "scales": (12,)}, {"batch_stats": "blend:4"}):
        found, expected = (evaluate_run(tmp_path / "run", arrays=a, **options) for a in (arrays, both))
        assert [replace(e, seconds=0) for e in found] == [replace(e, seconds=0) for e in expected]
    for options in ({"batch_stats": "pooled"}, {"part": "train"}, {"part": "validation"}):
        with pytest.raises(InputError, match="arrays lacks train_images, train_labels"):
            evaluate_run(tmp_path / "run", arrays=arrays, **options)


def test_a_network_of_the_user(tmp_path):
    """Its batch normalization is that of flax."""
    write(tmp_path / "run", get_config(), (8, 8, 1))
    with pytest.raises(InputError, match="protocol dense cannot rewrite Tiny"):
        evaluate_run(tmp_path / "run", protocol="dense")
    with pytest.raises(InputError, match="Tiny has no batch normalization"):
        evaluate_run(tmp_path / "run", batch_stats="pooled")
    (found,) = evaluate_run(tmp_path / "run", protocol="ten_crop", scales=(9,))
    assert found.views == 10 and found.n == 40


def test_scores_that_are_not_finite_are_exit_status_3(run, tmp_path, capsys, monkeypatch):
    module = sys.modules["jaxcnn.runs.run_evaluation"]

    def broken(*of, original=module.select):
        selection = original(*of)
        nothing = jax.tree.map(lambda x: np.full_like(x, np.nan), selection.variables)
        return replace(selection, variables=nothing)

    monkeypatch.setattr(module, "select", broken)
    assert main(["evaluate", str(run[0]), f"--output={tmp_path}/out.json"]) == 3
    out, errors = capsys.readouterr()
    assert errors.startswith("error: the network's scores are not finite for 30 of 30 images") and not out
    assert not list(tmp_path.iterdir())


def test_protocols_and_statistics_compile_once_for_each_shape(run, tmp_path, compiled):
    jax.clear_caches()
    protocols, kinds = ("center", "ten_crop"), ("ema", "algorithm2", "pooled")
    evaluate_run(run[0], protocol=protocols, batch_stats=kinds, stats_batches=2)
    count = {name: sum(name in of for of in compiled) for name in ("forward", "measured")}
    assert count == {"forward": 1, "measured": 1}
    compiled.clear()
    evaluate_run(run[0], protocol=protocols, batch_stats=("batch", "blend:4", "blend:16"))
    assert sum("forward" in of for of in compiled) == 1  # Another program, which uses the statistics of the batch.
    other = replace(EXPERIMENT, seed=5)
    write(tmp_path / "other", other, (9, 9, 1))
    compiled.clear()
    evaluate_run(tmp_path / "other", protocol=protocols, batch_stats=(*kinds, "blend:7"), stats_batches=2)
    assert compiled == []
    evaluate_run(run[0], protocol="dense", scales=(12, 15))
    assert sum("forward" in of for of in compiled) == 2
    compiled.clear()
    evaluate_run(run[0], protocol="multi_scale", scales=(12, 15), batch_stats=("ema", "pooled"))
    assert compiled == []


def test_scales_are_integers():
    assert parse_scales(None) is None and parse_scales("224,256") == (224, 256)
