"""Hooks are called at their events, read what the step computes, and do not change a run."""

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxcnn
from jaxcnn import Hook, InputError
from jaxcnn.config import load_config, override
from jaxcnn.runs.plan import make_plan
from jaxcnn.runs.signals import Preempted

TINY = override(load_config(Path(__file__).parents[1] / "tiny.py"), {"epochs": 3, "checkpoint_every": 2})
STEPS = 12  # 3 epochs of 4 full batches


@dataclass
class Notes(Hook):
    """Records every event."""

    events: list = field(default_factory=list)

    def on_step(self, run, step, sums, readings):
        self.events.append(("step", step, sums["n"], readings))

    def on_evaluation(self, run, step, part, metrics, logits):
        assert np.mean(logits.argmax(-1) == run.plan.dataset.test.labels) == metrics["accuracy"]
        self.events.append(("evaluation", step, part))

    def on_checkpoint(self, run, step):
        assert int(run.state.step) == step == run.saved
        self.events.append(("checkpoint", step))

    def on_end(self, run, results, logits):
        assert json.loads((run.workdir / "results.json").read_text())["test"] == results.test
        assert logits.shape == (40, 4) and not list(run.workdir.glob("*.png"))
        self.events.append(("end", results.steps))


@dataclass
class Probe(Notes):
    """Reads the updates of the output layer and the mean of the images at every fifth step."""

    every: int = 5

    def readings(self, state, batch, gradients, updates):
        return {
            "step": state.step,
            "norm": optax.tree.norm(gradients),
            "moved": updates["output"]["bias"],
            "image": jnp.mean(batch["image"]),
        }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    jaxcnn.train(TINY, workdir, verbose=False)
    return workdir


def weights(workdir):
    return jax.tree.leaves(jaxcnn.restore(workdir)[1])


def rows(workdir):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "time"} for row in found]


def test_hooks_are_called_at_their_events_in_order_and_change_nothing(whole, tmp_path):
    hook = Notes()
    jaxcnn.train(TINY, tmp_path / "run", hooks=[hook], verbose=False)
    steps = {step: ("step", step, 16.0, None) for step in range(1, STEPS + 1)}
    expected = [*(steps[i] for i in range(1, 5)), ("evaluation", 4, "test")]
    expected += [*(steps[i] for i in range(5, 9)), ("evaluation", 8, "test"), ("checkpoint", 8)]
    expected += [*(steps[i] for i in range(9, 13)), ("evaluation", 12, "test"), ("checkpoint", 12), ("end", 12)]
    assert hook.events == expected
    assert len(list((tmp_path / "run").glob("*.png"))) == 4
    assert rows(tmp_path / "run") == rows(whole)
    for found, same in zip(weights(tmp_path / "run"), weights(whole), strict=True):
        np.testing.assert_array_equal(found, same)
    again = Notes()
    jaxcnn.train(TINY, tmp_path / "run", hooks=[again], verbose=False)
    assert again.events == []


def test_readings_of_selected_steps_equal_those_of_a_loop_written_out(tmp_path, capsys):
    hook, other = Probe(), Notes()
    jaxcnn.train(TINY, tmp_path / "run", hooks=[hook, other])
    read = {event[1]: event[3] for event in hook.events if event[0] == "step"}
    assert [step for step, found in read.items() if found is not None] == [5, 10]
    assert all(event[3] is None for event in other.events if event[0] == "step")
    assert [int(read[step]["step"]) for step in (5, 10)] == [4, 9]
    compiled = [line.partition(" in ")[0] for line in capsys.readouterr().out.splitlines() if "compiled" in line]
    assert compiled == ["compiled the training step", "compiled the training step with the readings of Probe"]
    plan = make_plan(TINY)
    state, batches = (
        plan.initial_state(),
        jaxcnn.data.train_batches(plan.dataset.train, 16, seed=TINY.seed, sharding=plan.batch_sharding),
    )
    for _, batch in zip(range(5), batches, strict=False):
        before = jax.device_get(state.params["output"]["bias"])
        state, *_ = plan.programs.train_step(state, batch, plan.colors)
    moved = jax.device_get(state.params["output"]["bias"]) - before
    np.testing.assert_allclose(read[5]["moved"], moved, rtol=1e-3, atol=1e-7)
    assert isinstance(read[5]["moved"], np.ndarray) and read[5]["norm"] > 0
    assert read[5]["image"] == pytest.approx(np.mean((np.asarray(batch["image"]) / 255 - 0.4) / 0.3), rel=1e-4)


class Counts(Hook):
    """Counts images over all launches, and stops the run once."""

    def __init__(self, stop):
        self.stop = stop

    def on_step(self, run, step, sums, readings):
        run.loop_state["counted"] = run.loop_state.get("counted", 0) + sums["n"]
        self.total = run.loop_state["counted"]
        if step == self.stop:
            raise KeyboardInterrupt


def test_the_carry_of_a_hook_is_restored_on_resume(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        jaxcnn.train(TINY, tmp_path / "run", hooks=[Counts(stop=11)], verbose=False)
    hook = Counts(stop=None)
    jaxcnn.train(TINY, tmp_path / "run", hooks=[hook], verbose=False)
    assert hook.total == 16 * STEPS
    assert rows(tmp_path / "run") == rows(whole)


class Fails(Hook):
    def on_end(self, run, results, logits):
        raise RuntimeError("mine")


def test_an_exception_at_the_end_is_raised_after_the_other_hooks_ran(tmp_path, capsys):
    hook = Notes()
    with pytest.raises(RuntimeError, match="mine"):
        jaxcnn.train(override(TINY, {"epochs": 1}), tmp_path / "run", hooks=[Fails(), hook])
    assert hook.events[-1] == ("end", 4)
    assert (tmp_path / "run" / "learning_curves.png").exists() and "test error" in capsys.readouterr().out
    assert jaxcnn.train(override(TINY, {"epochs": 1}), tmp_path / "run", verbose=False).steps == 4


@pytest.mark.slow
def test_a_stopped_run_with_readings_ends_like_one_that_was_not_stopped(tmp_path):
    jaxcnn.train(TINY, tmp_path / "whole", hooks=[Probe()], verbose=False)

    class Stops(Hook):
        def on_step(self, run, step, sums, readings):
            if step == 6:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Preempted, match="stopped at step 7"):
        jaxcnn.train(TINY, tmp_path / "run", hooks=[Probe(), Stops()], verbose=False)
    jaxcnn.train(TINY, tmp_path / "run", hooks=[Probe()], verbose=False)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    for found, same in zip(weights(tmp_path / "run"), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        (Notes(), "hooks is Notes; it must be a list of Hook."),
        ([Notes(), Notes], "hooks[1] is the class Notes; give an instance of it."),
        ([print], "hooks[0] is builtin_function_or_method; it must be Hook."),
        ([Probe(every=0)], "Probe.every is 0; it must be an integer > 0."),
        ([Probe(every=2.5)], "Probe.every is 2.5; it must be an integer > 0."),
    ],
)
def test_what_is_no_hook_is_refused_before_training(hooks, words, tmp_path):
    with pytest.raises(InputError) as error:
        jaxcnn.train(TINY, tmp_path / "run", hooks=hooks, verbose=False)
    assert str(error.value) == words and not (tmp_path / "run").exists()


def test_a_network_is_no_experiment(tmp_path):
    with pytest.raises(InputError, match=r"experiment is Tiny; it must be Experiment\."):
        jaxcnn.train(TINY.model, tmp_path / "run")


def test_a_hook_cannot_change_results(whole, tmp_path):
    class Meddler(Hook):
        def on_evaluation(self, run, step, part, metrics, logits):
            metrics["error"] = 0.0
            assert not logits.flags.writeable

    results = jaxcnn.train(TINY, tmp_path / "run", hooks=[Meddler()], verbose=False)
    assert results.test == json.loads((whole / "results.json").read_text())["test"]
