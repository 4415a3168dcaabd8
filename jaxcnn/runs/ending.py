"""Hooks for the end of a run: the pictures and the summary."""

import numpy as np

from jaxcnn.objectives import network_params
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.pictures import draw_curves, draw_network
from jaxcnn.runs.running_statistics import running_statistics_hint
from jaxcnn.runs.workdir import Results


class Pictures(Hook):
    """Draws the pictures of a run that keeps all; if one cannot be drawn, it prints a line and does not fail."""

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        if run.keep != "all":
            return
        try:
            draw_curves(run.workdir)
            draw_network(run.workdir, run.plan.experiment, run.plan.dataset, logits, run.state.params)
        except Exception as error:
            cause = (str(error).strip() or "no message").splitlines()[0]
            run.console.print(f"pictures could not be drawn: {type(error).__name__}: {cause}")


class Summary(Hook):
    """Prints the results of a run and a list of its files."""

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        if run.console.quiet:
            return
        console, seconds = run.console, f"{results.steps:,} steps in {results.seconds:.1f} s"
        console.print(f"\ntest {_found(results.test)}; {seconds}")
        if results.target is not None:
            console.print(f"target {_found(results.target)}; {run.plan.dataset.about_target}")
        model, variables = run.plan.experiment.model, run.state.variables
        variables |= {"params": network_params(run.state.params)}
        hint = running_statistics_hint(run.workdir, model, variables, run.plan.image_shape, results.steps)
        if hint:
            console.print(hint)
        best = f"the latest two and the best by {run.evaluated_part} accuracy"
        pictures = ("*.png", "learning curves, confusion matrix, confident errors, first-layer filters")
        for name, what in (
            ("results.json", "the numbers above"),
            ("metrics.jsonl", "one row per logged step" + "; TensorBoard: tensorboard/" * (run.keep == "all")),
            *([("probes.npz", "the readings, for jaxcnn.probes.read_history")] if _probed(run) else []),
            *([pictures] if run.keep == "all" else []),
            *([] if run.keep == "results" else [("checkpoints/", best if run.keep == "all" else "the last")]),
            ("config.json, provenance.json", "the experiment, its code and the machine"),
        ):
            console.print(f"  {run.workdir}/{name}: {what}")


def _found(metrics: dict[str, float]) -> str:
    found = f"loss {metrics['loss']:.4f}"
    if "error" not in metrics:
        return found
    wrong = f"({round(metrics['error'] * metrics['n'])} of {metrics['n']:,} wrong)"
    return f"error {metrics['error']:.2%} {wrong}, accuracy {metrics['accuracy']:.2%}, {found}"


def _probed(run: Run) -> bool:
    return (run.workdir / "probes.npz").exists()
