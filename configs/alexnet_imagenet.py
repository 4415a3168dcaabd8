"""AlexNet on ImageNet, the network and the recipe of 2012.

    python launch.py --config=configs/alexnet_imagenet.py --config.data.data_dir=DIR --require_platform=gpu

DIR holds imagenet2012 as `python -m jaxcnn prepare imagenet2012 --data_dir=DIR` writes it from files that only their
owners hand out. Shows what Krizhevsky et al. (2012) did, as far as the paper says: 256x256 images, random 224x224
windows, mirroring, colours moved along their principal components (section 4.1); batches of 128, momentum 0.9, weight
decay 5e-4 on every parameter with the learning rate inside the momentum, 0.01 divided by 10 when progress stops, about
90 epochs (section 5). Two things differ. The mean of each channel is subtracted, not a mean image. Progress is that of
the training loss over an epoch, not of the validation error judged by eye, so the rate may drop more or less often than
the paper's three times.

The paper's single network has 40.7 % top-1 and 18.2 % top-5 error on the validation images, over ten views of each
(table 2), as `python -m jaxcnn evaluate` with `--protocol=ten_crop` has them; while training, one view is shown. Not
measured here.

Images are decoded when they are read, in 5 to 8 ms of a processor each. Where 262 GB of disk are to spare,
--config.data.decode=once does it once.
"""

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import AlexNet


def get_config() -> Experiment:
    return Experiment(
        model=AlexNet(),
        data=Data(
            source="tfds",
            name="imagenet2012",
            test_split="validation",
            batch_size=128,
            eval_batch_size=500,
            image_size=256,
            mean=(0.485, 0.456, 0.406),
            std=(1 / 255,),
        ),
        augment=Augment(crop=224, flip=True, pca_color=0.1),
        optimizer=Optimizer(
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            weight_decay_form="krizhevsky",
            weight_decay_scope="all",
            schedule=Schedule(name="plateau", factor=0.1, patience=1),
        ),
        epochs=90,
        log_every=500,
    )
