"""Run folders of sweeps, written without training."""

import json

from jaxcnn import Data, Experiment, override
from jaxcnn.config import to_json
from jaxcnn.models import LeNet5

BASE = Experiment(model=LeNet5(), data=Data(validation=0.1, split_seed=0))


def write_point(folder, changes, *, name=None, status="finished", error=0.02, validation=None, rows=()):
    """Write a run folder of `BASE` with changed fields; an unfinished one has only config.json and its metrics."""
    point = folder / (name or ",".join(f"{path.rpartition('.')[2]}={value}" for path, value in changes.items()))
    point.mkdir(parents=True)
    experiment = override(BASE, changes)
    (point / "config.json").write_text(json.dumps(to_json(experiment)))
    (point / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if status == "finished":
        validation = error if validation is None else validation
        results = {
            "test": {"accuracy": 1 - error, "error": error, "loss": 5 * error, "n": 1000},
            "validation": {"accuracy": 1 - validation, "error": validation, "loss": 5 * validation, "n": 100},
            "steps": 100,
            "seconds": 10.0,
            "seed": experiment.seed,
            "run_id": "0" * 12,
        }
        (point / "results.json").write_text(json.dumps(results))
    elif status != "unfinished":
        (point / "failure.json").write_text(json.dumps({"kind": status, "reason": "why", "step": 3}))
    return point
