"""VGG configuration D with batch normalization on CIFAR-10, with the recipe that is now usual for this data set.

    python launch.py --config=configs/vgg_cifar10.py --config.data.data_dir=DIR --require_platform=gpu

DIR contains cifar10 as written by `python -m jaxcnn prepare cifar10 --data_dir=DIR`. The network has 14,728,266
parameters: the convolutions of table 1 and one dense layer. Images are padded with 4 zeros on each side, cropped and
mirrored at random; SGD has momentum 0.9 and weight decay 5e-4 as in the paper (section 3.1), with a cosine schedule.
Others report 92.6 to 94.2 % for such networks. Intended for an accelerator; not measured here. vgg_a_cifar10.py is for
a CPU.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import VGG


def get_config() -> Experiment:
    return Experiment(
        model=VGG("D", 10, norm="batch", head="cifar", kernel_init="he"),
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
            schedule=Schedule(name="cosine", warmup_epochs=5),
        ),
        epochs=150,
        eval_every=5,
        checkpoint_every=5,
        log_every=100,
    )
