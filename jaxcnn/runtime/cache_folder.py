"""Where files that can be made again are kept for the user."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache folder: $JAXCNN_CACHE_DIR, else what the platform names for the user."""
    import platformdirs

    return Path(os.environ.get("JAXCNN_CACHE_DIR") or platformdirs.user_cache_dir("jaxcnn")).expanduser().absolute()
