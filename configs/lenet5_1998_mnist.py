"""LeNet-5 as published on MNIST: trained subsampling, the table of C3, distances to pictures of the digits.

python launch.py --config=configs/lenet5_1998_mnist.py --config.data.data_dir=DIR

"""

from jaxcnn import Data, Experiment, Optimizer, Schedule
from jaxcnn.models import LeNet5


def get_config() -> Experiment:
    return Experiment(
        model=LeNet5(variant="1998"),
        data=Data(source="tfds", name="mnist", batch_size=64, pad=2, mean=(0.0784,), std=(0.784,)),
        optimizer=Optimizer(
            algorithm="adam",
            learning_rate=2e-3,
            weight_decay=0.0,
            schedule=Schedule(name="cosine", warmup_epochs=1),
        ),
        loss="map",
        epochs=20,
        log_every=100,
    )
