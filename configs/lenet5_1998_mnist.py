"""LeNet-5 of 1998 on MNIST as published: trained subsampling, partly connected C3, distances to bitmaps of the digits.

    python launch.py --config=configs/lenet5_1998_mnist.py --config.data.data_dir=DIR

DIR contains mnist as written by `python -m jaxcnn prepare mnist --data_dir=DIR`. LeCun et al. (1998, section III)
report 0.95 % test error after 20 epochs on the 60,000 images, undistorted, without weight decay, with inputs at -0.1
for paper and 1.175 for ink; these settings are the same here. They updated after every image by stochastic diagonal
Levenberg-Marquardt (appendix C), with a rate per weight divided by a running estimate of its curvature and lowered from
5e-4 to 1e-5 in steps; here it is Adam on batches of 64, with a warm-up of one epoch and a cosine schedule to 0. The
loss is equation 9.
Measured: configs/results/lenet5_1998_mnist.jsonl, seeds 0 to 2.
"""

from jaxcnn import Data, Experiment, Optimizer, Schedule
from jaxcnn.models import LeNet5
from jaxcnn.objectives import MaximumAPosteriori


def get_config() -> Experiment:
    return Experiment(
        model=LeNet5(variant="1998"),
        data=Data(source="tfds", name="mnist", batch_size=64, pad=2, mean=(0.0784,), std=(0.784,)),
        optimizer=Optimizer(
            algorithm="adam",
            learning_rate=3e-3,
            weight_decay=0.0,
            schedule=Schedule(name="cosine", warmup_epochs=1),
        ),
        objective=MaximumAPosteriori(),
        epochs=20,
        log_every=100,
    )
