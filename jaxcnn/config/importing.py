"""Classes and functions of config files: their locations, and the errors in their code."""

import dataclasses
import importlib
import os
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flax import linen as nn

from jaxcnn.config import file_modules
from jaxcnn.config.schema import Part
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError


def locate(thing: Any, folder: Path | None = None) -> str:
    """Return the location at which `find` finds a class or function.

    Args:
        thing: class or function that is defined at the top level of a file.
        folder: files are named by paths relative to this folder; None: by absolute paths.

    Returns:
        `jaxcnn.models.LeNet5` for a definition that can be imported; `configs/mine.py:MyNet` for one in a file, and
        `configs:networks.small.MyNet` for one in a module of a folder.

    Raises:
        InputError: it could not be found again.
    """
    module = sys.modules.get(thing.__module__)
    # Code that is read from standard input has "<stdin>" as its file.
    nowhere = Path(getattr(module, "__file__", None) or "<>").name.startswith("<")
    if "<" in thing.__qualname__ or "." in thing.__qualname__ or nowhere:
        raise InputError(f"{thing.__qualname__} cannot be saved in config.json; define it at the top level of a file.")
    if (file := _file(module)) is not None:
        root, name = file_modules.root(module), thing.__qualname__
        if root is not None and root != file.parent:
            file, name = root, f"{module.__name__.partition('.')[2]}.{name}"
        return f"{file if folder is None else Path(os.path.relpath(file, folder.resolve())).as_posix()}:{name}"
    # A public name is imported from its package, so the file that defines it may move.
    package = module.__name__.rpartition(".")[0]
    if getattr(sys.modules.get(package), thing.__qualname__, None) is thing:
        return f"{package}.{thing.__qualname__}"
    return f"{module.__name__}.{thing.__qualname__}"


def identity(thing: Any) -> str:
    """Return the name of a class or function in a run's identity, which excludes the file that defines it."""
    place = locate(thing)
    return thing.__qualname__ if in_file(thing) else place


def in_file(thing: Any) -> bool:
    """Return whether a class or function is located by its file, because no import statement elsewhere finds it."""
    module = sys.modules.get(thing.__module__)
    return module is not None and _file(module) is not None


def _file(module: types.ModuleType) -> Path | None:
    """Return the file of a module that is located by its file; None for any other module."""
    if getattr(module, "__file__", None) is None:
        return None
    unnamed = module.__name__ == "__main__" or getattr(module, "__spec__", None) is None
    return Path(module.__file__).resolve() if unnamed or file_modules.root(module) else None


def find(where: str, folder: Path | None = None) -> Any:
    """Return the class or function at a location that `locate` returned for the same folder.

    Raises:
        InputError: there is no such class or function.
    """
    place, colon, name = where.rpartition(":")
    module, _, member = name.rpartition(".")
    path = Path(os.path.abspath((Path() if folder is None else folder.resolve()) / place))
    try:
        if not colon:
            return getattr(importlib.import_module(module), member)
        if module:
            return getattr(call(path, lambda: file_modules.member(path, module)), member)
        return getattr(import_file(path), name)
    except InputError:
        raise
    except Exception as error:
        hint = "" if colon else f" Set PYTHONPATH to the folder that holds {module.partition('.')[0]}."
        raise InputError(f"{where} is named in a saved configuration but cannot be imported: {error}.{hint}") from error


def import_file(path: Path, *, again: bool = False) -> types.ModuleType:
    """Return the module of a file.

    Args:
        path: the file.
        again: run the file even if this process has already loaded it as a module.

    Raises:
        InputError: its code fails; the message names the line.
        OSError: the file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return call(path, lambda: (file_modules.run if again else file_modules.loaded)(path))


def call(path: Path, function: Callable[[], Any]) -> Any:
    """Run a config file's code, and convert its errors to one-line messages that name the line for the user to fix."""
    try:
        return function()
    except InputError as error:
        raise InputError(f"{_place(path, error)}: {error}") from error
    except SyntaxError as error:
        raise InputError(f"{error.filename or path}, line {error.lineno}: syntax error: {error.msg}.") from error
    except Exception as error:
        word = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        known = {f.name for cls in [*Part.__subclasses__(), *_models()] for f in dataclasses.fields(cls)}
        close = fields.did_you_mean(word[1], known) if word else ""
        if word and word[1] == "loss":
            close = (
                " Write objective=CrossEntropy(), MaximumAPosteriori() or MeanSquaredError() from jaxcnn.objectives."
            )
        if word and word[1].startswith("lrn_"):
            close = f" Write norm=LocalResponseNorm({word[1].removeprefix('lrn_')}=...) from jaxcnn.layers."
        raise InputError(f"{_place(path, error)}: {type(error).__name__}: {error}.{close}") from error


def _place(path: Path, error: BaseException) -> str:
    file = str(path.resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _models(base: type[nn.Module] = nn.Module) -> Iterator[type[nn.Module]]:
    """Yield every module class that has been defined so far, except linen's own."""
    for cls in base.__subclasses__():
        if not cls.__module__.startswith("flax."):
            yield cls
        yield from _models(cls)
