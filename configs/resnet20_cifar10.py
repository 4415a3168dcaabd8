"""ResNet-20 on CIFAR-10, the network and the recipe of He et al. (2016, section 4.2).

    python launch.py --config=configs/resnet20_cifar10.py --config.data.data_dir=DIR --require_platform=gpu

DIR contains cifar10 as written by `python -m jaxcnn prepare cifar10 --data_dir=DIR`. It is plain20_cifar10.py, which
describes the recipe, with a skip connection around every two convolutions. The paper reports 8.75 % test error; 6.97 %
with 56 layers (table 6), --config.model.depth=56. --config.model.skip=pre_activation is the order of He et al. (2016,
Identity mappings in deep residual networks). Intended for an accelerator.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import PlainNet


def get_config() -> Experiment:
    return Experiment(
        model=PlainNet(depth=20, skip="post_activation"),
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
