"""AlexNet on ImageNet, the network and the recipe of 2012.

    python launch.py --config=configs/alexnet_imagenet.py --config.data.data_dir=DIR --require_platform=gpu

DIR contains imagenet2012 as written by `python -m jaxcnn prepare imagenet2012 --data_dir=DIR` from files that only
their owners distribute. The recipe follows Krizhevsky et al. (2012) as far as the paper specifies it: 256x256 images,
random 224x224 windows, mirroring, random colour shifts along principal components (section 4.1); batches of 128,
momentum 0.9, weight decay 5e-4 on every parameter with the learning rate inside the momentum, learning rate 0.01
divided by 10 when progress stops, about 90 epochs (section 5). Two things differ. The mean of each channel is
subtracted, not a mean image. Progress is measured by the training loss over an epoch, not by the validation error
judged by eye, so the rate may drop more or less often than the paper's three times.

The paper reports 40.7 % top-1 and 18.2 % top-5 error of a single network on the validation images, over ten views of
each (table 2), as in `python -m jaxcnn evaluate` with `--protocol=ten_crop`; evaluation during training uses one view.
Not measured here.

Images are decoded when they are read, which takes 5 to 8 ms of processor time each. With 262 GB of free disk space,
--config.data.decode=once decodes them only once.
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
