"""What claims read from a finished run is what its weights give."""

import math

import numpy as np
import pytest

from jaxcnn import Experiment, Optimizer, data, sweep
from jaxcnn.claims.networks import SmallConvNet
from jaxcnn.claims.outcomes import kernel_norms, nll, training_error
from jaxcnn.claims.responses import layer_shares, shares
from jaxcnn.claims.study import Study
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.runs.selection import select


def test_a_diverged_run_guesses_and_has_no_weights():
    record = sweep.Record(None, "", "diverged", reason="loss is nan")
    assert (nll(record), training_error(record), kernel_norms(record)) == (math.log(10), 90.0, None)


@pytest.mark.slow
def test_outcomes_of_a_run(tmp_path):
    study = Study(tmp_path, seeds=2, scale="tiny")
    experiment = Experiment(
        model=SmallConvNet((2,), hidden=3, dropout=0.5, norm=LocalResponseNorm(alpha=0.4)),
        data=study.images("cifar10", train=40, test=16, batch_size=16, image_size=8),
        optimizer=Optimizer(learning_rate=0.1, weight_decay=0.0),
        epochs=3,
    )
    record = study.repeat({"a": experiment}, keep="last")["a"][0]
    variables, images = select(record.workdir).variables, data.load(experiment.data, 0)
    preprocess, params = data.make_preprocess(experiment.data), variables["params"]

    def logits(part):
        return np.asarray(experiment.model.apply(variables, preprocess(part.images), train=False), np.float64)

    assert len(images.train) == 32
    wrong = logits(images.train).argmax(1) != images.train.labels
    assert training_error(record) == pytest.approx(100 * wrong.mean())
    scores = logits(images.test)
    likelihoods = scores[np.arange(16), images.test.labels] - np.log(np.exp(scores).sum(1))
    assert nll(record) == pytest.approx(-likelihoods.mean(), rel=1e-5)
    norms = {name: np.linalg.norm(layer["kernel"]) for name, layer in params.items()}
    assert kernel_norms(record) == pytest.approx(
        {"conv": norms["conv1"], "dense": math.hypot(norms["hidden"], norms["output"])}
    )
    x = np.asarray(preprocess(images.test.images[:5]))
    _, found = experiment.model.apply(variables, x, train=False, capture_intermediates=True)
    before, after = (np.asarray(found["intermediates"][n]["__call__"][0], np.float64) for n in ("act1", "norm1"))
    share = np.average(shares(before, LocalResponseNorm(alpha=0.4)), weights=after**2)
    assert layer_shares(record, 5) == pytest.approx([share], rel=1e-4)
