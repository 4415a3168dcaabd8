"""VGG configuration A with batch normalization and a quarter of the widths on CIFAR-10: small enough for a CPU.

    python launch.py --config=configs/vgg_a_cifar10.py --config.data.data_dir=DIR

DIR contains cifar10 as written by `python -m jaxcnn prepare cifar10 --data_dir=DIR`. The network has 579,786 parameters
and trains on all 50,000 images for 10 epochs; batch normalization allows the high learning rate of so short a run
(Ioffe & Szegedy 2015, section 3.3). Measured: configs/results/vgg_a_cifar10.jsonl, seeds 0 to 2.
vgg_cifar10.py is the full network.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import VGG


def get_config() -> Experiment:
    return Experiment(
        model=VGG("A", 10, norm="batch", head="cifar", kernel_init="he", width=0.25),
        data=Data(
            source="tfds",
            name="cifar10",
            batch_size=128,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
        ),
        augment=Augment(crop=32, crop_pad=4, flip=True),
        optimizer=Optimizer(
            learning_rate=0.1,
            nesterov=True,
            weight_decay=5e-4,
            schedule=Schedule(name="cosine", warmup_epochs=1),
        ),
        epochs=10,
        log_every=50,
    )
