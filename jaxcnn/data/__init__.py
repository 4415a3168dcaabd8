"""Images: where they come from, how they are ordered, changed and sent to the device."""

from jaxcnn.data.augment import make_augment, make_preprocess, warp
from jaxcnn.data.dataset import Dataset, Rows, Split, check_labels
from jaxcnn.data.pipeline import epoch_order, eval_batches, steps_per_epoch, train_batches
from jaxcnn.data.sources import load

__all__ = [
    "Dataset",
    "Rows",
    "Split",
    "check_labels",
    "epoch_order",
    "eval_batches",
    "load",
    "make_augment",
    "make_preprocess",
    "steps_per_epoch",
    "train_batches",
    "warp",
]
