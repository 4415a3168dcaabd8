"""VGG configuration D ("VGG16") on ImageNet, the network and the recipe of 2015.

    python launch.py --config=configs/vgg_imagenet.py --config.data.data_dir=DIR --require_platform=gpu

DIR contains imagenet2012 as written by `python -m jaxcnn prepare imagenet2012 --data_dir=DIR` from files that only
their owners distribute. The recipe follows Simonyan & Zisserman (2015, section 3.1) as far as the paper specifies it:
random 224x224 windows of images whose short side is drawn from [256, 512], mirroring, random colour shifts; batches of
256, momentum 0.9, weight decay 5e-4 (on every parameter, because the paper does not restrict it), dropout, learning
rate 0.01 divided by 10 three times, 74 epochs, Glorot initialization as the footnote advises. Three things differ. The
rate drops at fixed epochs, not when the validation accuracy stops rising. The network is initialized randomly, not from
one trained at short side 384. Images are stored with short side 384, about the size in ImageNet, and resized from
there.

The paper reports 25.6 % top-1 and 8.1 % top-5 error on the validation images at short side 384 (table 3), over whole
images as in `python -m jaxcnn evaluate` with `--protocol=dense`; evaluation during training uses their central window.
Not measured here.

Images are decoded when they are read, which takes 5 to 8 ms of processor time each. With 589 GB of free disk space,
--config.data.decode=once decodes them only once.
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
