"""AlexNet on CIFAR-10: the network of 2012 with a stem and a head for 32x32 images, trained as its paper says.

    python launch.py --config=configs/alexnet_cifar10.py --config.data.data_dir=DIR --require_platform=gpu

DIR holds cifar10 as `python -m jaxcnn prepare cifar10 --data_dir=DIR` writes it. 2,329,482 parameters. Pixels in 0..255
less their mean, for which the constants of local response normalization and the initial weights were made (Krizhevsky
et al. 2012, sections 3.3 and 5); the paper's update rule, its colour changes (section 4.1), crops of the image with a
border of 4 zeros. Section 3.3 tells of 13 % test error without and 11 % with local response normalization for a network
of four layers: compare with --config.model.norm=none. Made for an accelerator; not measured here.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import AlexNet


def get_config() -> Experiment:
    return Experiment(
        model=AlexNet(10, stem="cifar_32", head="cifar"),
        data=Data(source="tfds", name="cifar10", batch_size=128, mean=(0.4914, 0.4822, 0.4465), std=(1 / 255,)),
        augment=Augment(crop=32, crop_pad=4, flip=True, pca_color=0.1),
        optimizer=Optimizer(
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            weight_decay_form="krizhevsky",
            weight_decay_scope="all",
            schedule=Schedule(name="step", drops=(60, 75, 85)),
        ),
        epochs=90,
        eval_every=5,
        checkpoint_every=5,
        log_every=100,
    )
