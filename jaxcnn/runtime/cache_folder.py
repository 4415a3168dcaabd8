"""The user's folder for files that can be regenerated."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: $JAXCNN_CACHE_DIR, or the user's cache folder on this platform."""
    import platformdirs

    return Path(os.environ.get("JAXCNN_CACHE_DIR") or platformdirs.user_cache_dir("jaxcnn")).expanduser().absolute()
