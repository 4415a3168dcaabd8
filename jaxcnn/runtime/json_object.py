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
        InputError: the file does not exist or cannot be read, or is damaged: it holds no JSON object, one without
            these fields, or a number that JSON does not have, such as NaN.
    """
    try:
        value = json.loads(path.read_text(), parse_constant=_refuse)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; without it the run cannot be read.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; make it readable, or delete it.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); delete it to continue.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged (it holds no JSON object); delete it to continue.")
    if missing := [name for name in fields if name not in value]:
        raise InputError(f"{path} is damaged (it lacks {', '.join(missing)}); delete it to continue.")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")
