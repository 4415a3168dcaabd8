"""JSON objects in the files of a run."""

import json
from pathlib import Path
from typing import Any

from jaxcnn.runtime.errors import InputError


def read_object(path: Path, *fields: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: the file.
        fields: names that the object must have.

    Raises:
        InputError: the file does not exist, or is damaged: it holds no JSON object or one without these fields.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; without it the run cannot be read.") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); delete it to go on.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (it holds no JSON object); delete it to go on.")
    if missing := [name for name in fields if name not in value]:
        raise InputError(f"{path} is damaged (it lacks {', '.join(missing)}); delete it to go on.")
    return value
