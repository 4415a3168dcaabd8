"""Modules loaded from files that are not on Python's path: a config file, and the files beside it that it imports.

The modules of each folder form a package, named by a digest of the folder, so that files of the same name in two
folders are two modules. In these modules, `import NAME` first searches the folder of the file, as in a script; Python's
own path does not change.
"""

import builtins
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

_PACKAGE = "jaxcnn_file_"
_INSTALLED = (
    Path(__file__).resolve().parents[1],
    *{Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")},
)


def is_local(file: Path) -> bool:
    """Return whether a file is the user's own code: not part of Python, of jaxcnn or of another installed package."""
    if {"site-packages", "dist-packages"} & set(file.parts):
        return False
    return not any(file.is_relative_to(folder) for folder in _INSTALLED)


def root(module: types.ModuleType) -> Path | None:
    """Return the folder in which a module loaded here searches for its imports; None for any other module."""
    package, dot, _ = module.__name__.partition(".")
    return Path(sys.modules[package].__path__[0]) if dot and package.startswith(_PACKAGE) else None


def loaded(path: Path) -> types.ModuleType:
    """Return the module that this process has already loaded from a file, or a new one if the file is new or has
    changed. Running the same file again would create different classes of the same names.

    Raises:
        OSError: the file does not exist. Exceptions of its code are raised unchanged.
    """
    path = path.resolve()
    main = sys.modules["__main__"]
    if getattr(main, "__file__", None) and Path(main.__file__).resolve() == path:
        return main
    module = sys.modules.get(_name(path))
    return run(path) if module is None or module.__loader__.changed() else module


def run(path: Path) -> types.ModuleType:
    """Run a file as a module. If files beside it have changed, they are also run again when it imports them.

    Raises:
        OSError: the file does not exist. Exceptions of its code are raised unchanged.
    """
    path = path.resolve()
    _forget_changed(_package(path.parent))
    name = _name(path)
    loader = _Loader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path, loader=loader))
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def source(path: Path) -> bytes:
    """Return the text of a file: as this process has run it as a module, otherwise as it is now.

    Raises:
        OSError: the file does not exist.
    """
    module = sys.modules.get(_name(path))
    return path.read_bytes() if module is None else module.__loader__.source


def member(folder: Path, name: str) -> types.ModuleType:
    """Return the module with the dotted name `name` in a folder: `member(Path("configs"), "networks.small")`."""
    return importlib.import_module(f"{_package(folder.resolve())}.{name}")


def _name(path: Path) -> str:
    return f"{_package_name(path.parent)}.{path.stem.replace('.', '_')}"


def _package_name(folder: Path) -> str:
    return _PACKAGE + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _package(folder: Path) -> str:
    """Return the name of the package of a folder, which is created if needed."""
    name = _package_name(folder)
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(spec)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return name


def _forget_changed(package: str) -> None:
    """Forget all modules of a package if the file of one has changed, because they hold references to each other."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith(package + ".")}
    loaders = [module.__loader__ for module in modules.values() if isinstance(module.__loader__, _Loader)]
    if any(loader.changed() for loader in loaders):
        for name in modules:
            del sys.modules[name]
            vars(sys.modules[package]).pop(name.removeprefix(package + "."), None)


class _Loader(SourceFileLoader):
    """A loader for a file whose import statements first search the folder of the file."""

    def get_code(self, fullname: str) -> types.CodeType:
        # Never use __pycache__, which cannot distinguish two versions of the same second and the same size.
        self.source = self.get_data(self.path)
        return self.source_to_code(self.source, self.path)

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": partial(_import, root(module))}
        super().exec_module(module)

    def changed(self) -> bool:
        """Return whether the file has changed or no longer exists."""
        try:
            return self.get_data(self.path) != self.source
        except OSError:
            return True


class _Finder:
    """A finder of the modules of folders, for Python's import system."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PACKAGE):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def _import(
    folder: Path,
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """Replace `builtins.__import__` for the modules of a folder."""
    original: Callable[..., types.ModuleType] = builtins.__import__
    top = name.partition(".")[0]
    if level or not _beside(folder, top):
        return original(name, globals, locals, fromlist, level)
    package = _package(folder)
    if fromlist:
        return original(f"{package}.{name}", globals, locals, fromlist, 0)
    importlib.import_module(f"{package}.{name}")
    return sys.modules[f"{package}.{top}"]


def _beside(folder: Path, top: str) -> bool:
    """Return whether `import top` in a file of this folder means the file or folder of that name in it."""
    if top in sys.builtin_module_names:
        return False
    files = [file for file in (folder / top / "__init__.py", folder / f"{top}.py") if file.is_file()]
    module = sys.modules.get(top)
    if module is not None and getattr(module, "__file__", None):
        # Keep an installed package that is already imported, and the same file if it is imported under its own name,
        # so that its classes stay the same.
        file = Path(module.__file__).resolve()
        if not is_local(file) or file in files:
            return False
    if files:
        return True
    # Everything on Python's path has precedence over a folder without __init__.py.
    return any((folder / top).glob("*.py")) and module is None and PathFinder.find_spec(top) is None
