"""Images: loading, order, augmentation, preprocessing and transfer to the device."""

from jaxcnn.data.augment import center_crop, color_axes, make_augment, make_preprocess, resized_crop, to_float, warp
from jaxcnn.data.dataset import Dataset, MissingData, Rows, Split, check_labels
from jaxcnn.data.pipeline import (
    epoch_order,
    eval_batches,
    member_eval_batches,
    member_train_batches,
    steps_per_epoch,
    train_batches,
)
from jaxcnn.data.sources import divided, load, with_validation
from jaxcnn.data.subgroups import stroke_widths
from jaxcnn.data.targets import Target, read_target

__all__ = [
    "Dataset",
    "MissingData",
    "Rows",
    "Split",
    "Target",
    "center_crop",
    "check_labels",
    "color_axes",
    "divided",
    "epoch_order",
    "eval_batches",
    "load",
    "make_augment",
    "make_preprocess",
    "member_eval_batches",
    "member_train_batches",
    "read_target",
    "resized_crop",
    "steps_per_epoch",
    "stroke_widths",
    "to_float",
    "train_batches",
    "warp",
    "with_validation",
]
