"""Images: loading, order, augmentation, preprocessing and transfer to the device."""

from jaxcnn.data.augment import center_crop, color_axes, make_augment, make_preprocess, resized_crop, warp
from jaxcnn.data.dataset import Dataset, MissingData, Rows, Split, check_labels
from jaxcnn.data.pipeline import (
    epoch_order,
    eval_batches,
    member_eval_batches,
    member_train_batches,
    steps_per_epoch,
    train_batches,
)
from jaxcnn.data.sources import load, with_validation

__all__ = [
    "Dataset",
    "MissingData",
    "Rows",
    "Split",
    "center_crop",
    "check_labels",
    "color_axes",
    "epoch_order",
    "eval_batches",
    "load",
    "make_augment",
    "make_preprocess",
    "member_eval_batches",
    "member_train_batches",
    "resized_crop",
    "steps_per_epoch",
    "train_batches",
    "warp",
    "with_validation",
]
