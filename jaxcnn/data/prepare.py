"""Download TFDS data sets and write them as array_record; the only module that uses TensorFlow."""

import contextlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

from jaxcnn.data import tfds
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean

# Files that only their owners distribute, with their sizes in bytes.
_MANUAL = {"imagenet2012": {"ILSVRC2012_img_train.tar": 147_897_477_120, "ILSVRC2012_img_val.tar": 6_744_924_160}}


def prepare(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> Path:
    """Download a TFDS data set and write it as array_record, unless it is already prepared.

    Args:
        name: "mnist", optionally with a version ("mnist:3.0.1") or a configuration ("imagenet_resized/32x32").
        data_dir: folder of prepared data sets; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets.
        manual_dir: folder of files that must be downloaded by hand; None: downloads/manual in `data_dir`.

    Returns:
        The folder of the prepared data set.

    Raises:
        InputError: TFDS does not know the name, the data set is prepared in another format, files to be downloaded by
            hand are missing, TensorFlow is not installed, or downloading or writing fails. Nothing incomplete remains.
    """
    prepared = tfds.find(name, data_dir)
    if prepared and prepared.file_format != "array_record":
        raise InputError(
            f"{name} is prepared as {prepared.file_format} in {prepared.folder}; only array_record can be read. Delete "
            "that folder or choose another --data_dir, and run this again."
        )
    if prepared:
        print(f"{name} is already prepared in {prepared.folder}")
        return prepared.folder
    base = name.partition(":")[0]
    root = tfds.data_root(data_dir)
    manual = Path(manual_dir).expanduser().absolute() if manual_dir else root / "downloads" / "manual"
    _quiet()
    _check_name(base)
    _check_manual(base, manual)
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError("Preparing data sets needs TensorFlow; run: pip install tensorflow")
    _hide_accelerators()
    with _removing_leftovers(root, base):
        builder = _builder(name, root, manual)
        _check_network(builder)
        _download(builder, name, manual)
    print(f"{name} is prepared in {builder.data_dir}")
    return Path(builder.data_dir)


def _check_name(base: str) -> None:
    import tensorflow_datasets

    # Looking up community data sets would use the network.
    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    if base.partition("/")[0] not in known:
        raise InputError(f"TFDS has no data set {base!r}.{did_you_mean(base, known)}")


def _check_manual(base: str, folder: Path) -> None:
    """Check, for data sets with known files, that the files exist and are complete."""
    wanted = _MANUAL.get(base.partition("/")[0], {})
    wrong = [n for n, size in wanted.items() if not (folder / n).is_file() or (folder / n).stat().st_size != size]
    if wrong:
        files = " and ".join(f"{n} ({size / 1e9:.1f} GB, {size} bytes)" for n, size in wanted.items())
        raise InputError(
            f"{base} is distributed only by its owners: register at https://image-net.org, download {files} into "
            f"{folder} (or give --manual_dir), and do not unpack or repack them. Missing or of the wrong size: "
            f"{', '.join(wrong)}."
        )


def _quiet() -> None:
    """Silence the log messages of TensorFlow and the downloader."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _hide_accelerators() -> None:
    """Hide accelerators from TensorFlow, which would reserve all memory of every visible GPU."""
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)


def _builder(name: str, root: Path, manual: Path) -> Any:
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder(name, data_dir=root, file_format="array_record")
    except Exception as error:
        raise InputError(f"TFDS cannot build {name!r}: {_first_line(error)}") from None
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not (manual.is_dir() and any(manual.iterdir())):
        instructions = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        raise InputError(f"{name} needs files downloaded by hand in {manual} (or give --manual_dir): {instructions}")
    return builder


def _check_network(builder: Any) -> None:
    """Contact one server, so that a missing network is reported in seconds and not after minutes of retries."""
    import requests

    url = next((u for u in builder.url_infos or {} if u.startswith("http")), None)
    try:
        if url:
            requests.head(url, timeout=20)
    except requests.RequestException:
        host = url.split("/")[2]
        raise InputError(f"Cannot reach {host} to download {builder.name}; is there a network?") from None


def _download(builder: Any, name: str, manual: Path) -> None:
    import tensorflow_datasets

    try:
        config = tensorflow_datasets.download.DownloadConfig(manual_dir=manual)
        builder.download_and_prepare(download_config=config, file_format="array_record")
    except Exception as error:
        raise InputError(f"Preparing {name} failed: {_first_line(error)}") from None


@contextlib.contextmanager
def _removing_leftovers(root: Path, base: str) -> Any:
    """On failure, delete incomplete downloads and empty folders; complete downloads stay for the next attempt."""
    missing = [p for p in [root, *root.parents] if not p.exists()]
    try:
        yield
    except BaseException:
        downloads, dataset = root / "downloads", root / base.partition("/")[0]
        for partial in (downloads / dataset.name).glob("*.tmp.*"):
            partial.unlink()
        folders = [downloads / dataset.name, downloads / "extracted", downloads, root / base, dataset, *missing]
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
