"""VGG configuration D ("VGG16") on ImageNet, the network and the recipe of 2015.

    python launch.py --config=configs/vgg_imagenet.py --config.data.data_dir=DIR --require_platform=gpu

DIR holds imagenet2012 as `python -m jaxcnn prepare imagenet2012 --data_dir=DIR` writes it from files that only their
owners hand out. Shows what Simonyan & Zisserman (2015, section 3.1) did, as far as the paper says: random 224x224
windows of images whose short side is drawn from [256, 512], mirroring, random colour shift; batches of 256, momentum
0.9, weight decay 5e-4 (the paper does not restrict it: on every parameter), dropout, learning rate 0.01 divided by 10
three times, 74 epochs, Glorot's initial weights as the footnote advises. Three things differ. The rate drops at fixed
epochs, not when the validation accuracy stops rising. The network starts afresh, not from one trained at short side
384. Images are stored with short side 384, about what ImageNet has, and resized from there.

The paper has 25.6 % top-1 and 8.1 % top-5 error on the validation images at short side 384 (table 3), over whole images
as `python -m jaxcnn evaluate` with `--protocol=dense` has them; while training, their central window is shown. Not
measured here.

Images are decoded when they are read, in 5 to 8 ms of a processor each. Where 589 GB of disk are to spare,
--config.data.decode=once does it once.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import VGG


def get_config() -> Experiment:
    return Experiment(
        model=VGG("D"),
        data=Data(
            source="tfds",
            name="imagenet2012",
            test_split="validation",
            batch_size=256,
            eval_batch_size=256,
            image_size=384,
            mean=(0.485, 0.456, 0.406),
            std=(1 / 255,),
        ),
        augment=Augment(crop=224, scale_jitter=(256, 512), flip=True, pca_color=0.1),
        optimizer=Optimizer(
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            weight_decay_form="l2",
            weight_decay_scope="all",
            schedule=Schedule(name="step", factor=0.1, drops=(20, 40, 60)),
        ),
        epochs=74,
        log_every=500,
    )
