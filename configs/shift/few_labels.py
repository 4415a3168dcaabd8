"""LeNet-5 with 100 labelled scans of digits, initialized from MNIST: what a few labels of another population give.

    python launch.py --config=configs/shift/few_labels.py --init_from=runs/a

runs/a is a run of mnist_to_digits.py. Only the last layer trains, on features that do not change (linear probe). To
train all layers at a tenth of the rate afterwards, initialize from this run and add `--config.objective=CrossEntropy
--config.optimizer.learning_rate=3e-4`. `--config.data.train_count=1000` and `--config.data.train_count=10
--config.data.batch_size=8` give other numbers of labels, in equal numbers per class; those of 10 are among those of
100. The test split of 360 scans is that of all these runs.
"""

from jaxcnn import Data, Experiment, Optimizer, shift
from jaxcnn.models import LeNet5


def get_config() -> Experiment:
    return Experiment(
        model=LeNet5(norm="batch", activation="relu"),
        data=Data(source="digits", train_count=100, image_size=20, pad=6, batch_size=16, mean=(0.1,), std=(0.3,)),
        optimizer=Optimizer(algorithm="adam", learning_rate=3e-3, weight_decay=0.0),
        objective=shift.LinearProbe(layers=("output",)),
        epochs=30,
        eval_every=10,
        checkpoint_every=10,
    )
