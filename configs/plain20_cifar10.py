"""The plain network with 20 layers on CIFAR-10, the network and the recipe of He et al. (2016, section 4.2).

    python launch.py --config=configs/plain20_cifar10.py --config.data.data_dir=DIR --require_platform=gpu

DIR contains cifar10 as written by `python -m jaxcnn prepare cifar10 --data_dir=DIR`. With
--config.model.skip=post_activation it is ResNet-20, with --config.model.depth=56 a network of 56 layers: the paper's
comparison. Plain networks get worse with depth, residual ones better (figure 6; table 6: 8.75 % test error for
ResNet-20, 6.97 % for ResNet-56). Batches of 128, momentum 0.9, weight decay 1e-4 on every parameter (the paper names no
exception), learning rate 0.1 divided by 10 after 32,000 and 48,000 of 64,000 steps, which are 82, 123 and 164 epochs of
390 steps; images are padded with 4 zeros on each side, cropped and mirrored at random. One thing differs: pixels are
standardised with the mean and deviation of each channel, where the paper subtracts a mean image. Intended for an
accelerator.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import PlainNet


def get_config() -> Experiment:
    return Experiment(
        model=PlainNet(depth=20, skip="none"),
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
            momentum=0.9,
            weight_decay=1e-4,
            weight_decay_scope="all",
            schedule=Schedule(name="step", factor=0.1, drops=(82, 123)),
        ),
        epochs=164,
        eval_every=4,
        checkpoint_every=4,
        log_every=100,
    )
