"""Classes and functions of config files: where they are found, and what goes wrong in them."""

import dataclasses
import hashlib
import importlib.util
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flax import linen as nn

from jaxcnn.config.schema import Part
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError


def locate(thing: Any) -> str:
    """Where a class or function is found again: `jaxcnn.models.LeNet5`, or `/path/of/config.py:MyNet`."""
    module = sys.modules[thing.__module__]
    if "<" in thing.__qualname__ or "." in thing.__qualname__ or not hasattr(module, "__file__"):
        raise InputError(f"config.json cannot say where {thing.__qualname__} is; define it at the top level of a file.")
    if module.__name__ == "__main__" or getattr(module, "__spec__", None) is None or module.__name__.startswith(_FILE):
        return f"{Path(module.__file__).resolve()}:{thing.__qualname__}"
    # Public names live in the package; the file that defines them is free to move.
    package = module.__name__.rpartition(".")[0]
    if getattr(sys.modules.get(package), thing.__qualname__, None) is thing:
        return f"{package}.{thing.__qualname__}"
    return f"{module.__name__}.{thing.__qualname__}"


def find(where: str) -> Any:
    """The class or function at a place that `locate` gave.

    Raises:
        InputError: it is not there.
    """
    file, colon, name = where.rpartition(":")
    try:
        if colon:
            return getattr(_loaded(Path(file)), name)
        module, _, name = where.rpartition(".")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, OSError) as error:
        raise InputError(f"{where} is named in a saved configuration but cannot be imported: {error}.") from error


_FILE = "jaxcnn_file_"


def _module_name(path: Path) -> str:
    return _FILE + hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _loaded(path: Path) -> types.ModuleType:
    """The module that a file already is in this process; running it again would make other classes of the same name."""
    if getattr(sys.modules["__main__"], "__file__", None) and Path(sys.modules["__main__"].__file__).resolve() == path:
        return sys.modules["__main__"]
    return sys.modules.get(_module_name(path)) or import_file(path)


def import_file(path: Path) -> types.ModuleType:
    path = path.resolve()
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        call(path, lambda: spec.loader.exec_module(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def call(path: Path, function: Callable[[], Any]) -> Any:
    """Run a config file's code; what goes wrong in it is the user's to mend, so say where, in a line."""
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
            close = " Write objective=CrossEntropy(), MaximumAPosteriori() or MeanSquaredError() of jaxcnn.objectives."
        if word and word[1].startswith("lrn_"):
            close = f" Write norm=LocalResponseNorm({word[1].removeprefix('lrn_')}=...) of jaxcnn.layers."
        raise InputError(f"{_place(path, error)}: {type(error).__name__}: {error}.{close}") from error


def _place(path: Path, error: BaseException) -> str:
    file = str(path.resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _models(base: type[nn.Module] = nn.Module) -> Iterator[type[nn.Module]]:
    """Every kind of module that is defined by now, but for linen's own."""
    for cls in base.__subclasses__():
        if not cls.__module__.startswith("flax."):
            yield cls
        yield from _models(cls)
