"""AlexNet on CIFAR-10: the network of 2012 with a stem and a head for 32x32 images, trained as in its paper.

    python launch.py --config=configs/alexnet_cifar10.py --config.data.data_dir=DIR --require_platform=gpu

DIR contains cifar10 as written by `python -m jaxcnn prepare cifar10 --data_dir=DIR`. The network has 2,329,482
parameters. The update rule and the colour augmentation are the paper's (Krizhevsky et al. 2012, sections 5 and 4.1);
images are padded with 4 zeros on each side and cropped. Pixels are standardised and weights are initialized as in He et
al. (2015): with the paper's initialization, N(0, 0.01) with biases of 1, designed for the larger network, the loss
stayed at ln 10 for the hundred steps that were tried. Responses are then about 1, on which the paper's alpha of 1e-4
would have no effect; 0.1 lets them inhibit each other. Section 3.3 reports 13 % test error without and 11 % with local
response normalization for a network of four layers: compare with --config.model.norm=none. Intended for an accelerator;
not measured here.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.layers import LocalResponseNorm
from jaxcnn.models import AlexNet


def get_config() -> Experiment:
    return Experiment(
        model=AlexNet(10, stem="cifar_32", head="cifar", kernel_init="he", norm=LocalResponseNorm(alpha=0.1)),
        data=Data(
            source="tfds",
            name="cifar10",
            batch_size=128,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
        ),
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
