"""The user's own code that an experiment refers to, and digests that change when it does."""

import ast
import dataclasses
import functools
import hashlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.config import file_modules


def code_of(experiment: Any) -> dict[str, str]:
    """Return digests, by name, of an experiment's classes and functions that no installed package defines."""
    digests: dict[str, set[str]] = {}
    for thing in {*referred(experiment)}:
        file = file_of(thing)
        if file is not None and file_modules.is_local(file):
            own = file_modules.root(sys.modules[thing.__module__])
            path = [*([own] if own else []), *map(Path, sys.path)]
            digests.setdefault(thing.__qualname__, set()).add(code_digest(file, thing.__qualname__, path))
    # Definitions of the same name in several files share an entry.
    return {name: "+".join(sorted(found)) for name, found in sorted(digests.items())}


def referred(value: Any) -> Iterator[Any]:
    """Yield the class of every part of an experiment, and every class or function that is a setting."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in dataclasses.fields(value):
            if field.init and field.name != "parent":
                yield from referred(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from referred(each)
    elif isinstance(value, Mapping):
        yield from referred(list(value.values()))
    elif getattr(value, "__qualname__", None) and getattr(value, "__module__", None):
        yield value


def file_of(thing: Any) -> Path | None:
    """Return the file that defines a class or function; None if there is none."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return Path(file).resolve() if file else None


def code_digest(file: Path, name: str, path: Sequence[Path]) -> str:
    """Return a digest of a top-level definition and of everything in local files that it refers to, directly or not.

    It is computed from syntax trees, without running the code. Comments, docstrings, layout and the locations of files
    do not count, nor does anything that the definition does not refer to. For other packages only the imported names
    count; for jaxcnn the module does not count either, because public names are stable and files may move.

    Args:
        file: the file that contains the definition.
        name: name of the definition.
        path: folders in which import statements search for modules, in this order.

    Returns:
        Sixteen hexadecimal digits.
    """
    reader = _Reader(path)
    reader.reach(file, name)
    return hashlib.sha256("\n".join(sorted(reader.found)).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class _Statement:
    """A top-level statement of a file, the names that it binds or changes, and the names that it refers to."""

    tree: ast.stmt
    bound: frozenset[str]
    used: frozenset[str]


_PARSING = threading.Lock()


@functools.lru_cache(maxsize=256)
def _parse(source: bytes) -> tuple[_Statement, ...]:
    body = ast.parse(source).body
    return tuple(_Statement(each, frozenset(_bound(each)), frozenset(_used(each))) for each in body)


class _Reader:
    """Collects the statements that a definition depends on."""

    def __init__(self, path: Sequence[Path]) -> None:
        self.path, self.found = path, set[str]()
        self._reached, self._parsed = set[tuple[Path, str | None]](), dict[Path, tuple[_Statement, ...]]()

    def reach(self, file: Path, name: str | None) -> None:
        """Collect the statements that define a name in a file, or all statements if the name is None."""
        if (file, name) in self._reached:
            return
        self._reached.add((file, name))
        statements = self._statements(file)
        chosen = [s for s in statements if (_counts(s.tree) if name is None else name in s.bound)]
        if not chosen:
            chosen = [s for s in statements if "*" in s.bound]
        for statement in chosen:
            if isinstance(statement.tree, ast.Import | ast.ImportFrom):
                self._follow(statement.tree, file, name)
                continue
            self.found.add(repr(_shape(statement.tree)))
            for used in statement.used:
                self.reach(file, used)
            for node in ast.walk(statement.tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    self._follow(node, file, None)

    def _follow(self, statement: ast.Import | ast.ImportFrom, file: Path, name: str | None) -> None:
        """Continue in the module from which an import statement binds a name, or in all of its modules."""
        for alias in statement.names:
            if name is not None and alias.name != "*" and name not in _bound_by(statement, alias):
                continue
            if isinstance(statement, ast.Import):
                self._enter(alias.name, None, alias, self._find(alias.name, file, 0))
            else:
                module = self._find(statement.module or "", file, statement.level)
                member = name if alias.name == "*" else alias.name
                inner = None
                if module is None or (member and not self._defines(module, member)):
                    inner = self._find(".".join(filter(None, (statement.module, alias.name))), file, statement.level)
                self._enter(statement.module or "", None if inner else member, alias, inner or module)

    def _enter(self, module: str, member: str | None, alias: ast.alias, file: Path | None) -> None:
        if file is not None:
            self.reach(file, member)
        else:
            shown = "jaxcnn" if module.split(".")[0] == "jaxcnn" else module
            self.found.add(f"from {shown} import {alias.name} as {alias.asname}")

    def _defines(self, file: Path, name: str) -> bool:
        return any({name, "*"} & s.bound for s in self._statements(file))

    def _statements(self, file: Path) -> tuple[_Statement, ...]:
        if file not in self._parsed:
            try:
                # In Python 3.11, ast.parse sometimes raises SystemError if two threads call it at the same time.
                with _PARSING:
                    self._parsed[file] = _parse(file_modules.source(file))
            except (OSError, SyntaxError, ValueError):
                self._parsed[file] = ()
        return self._parsed[file]

    def _find(self, module: str, file: Path, level: int) -> Path | None:
        """Return the file of a module if it is local, otherwise None."""
        parts = [part for part in module.split(".") if part]
        folders = [file.parents[level - 1]] if level else list(self.path)
        top = getattr(sys.modules.get(parts[0]), "__file__", None) if parts and not level else None
        if top is not None:
            if not file_modules.is_local(Path(top)):
                return None
            folders.append(Path(top).parents[Path(top).name == "__init__.py"])
        for folder in folders:
            place = folder.joinpath(*parts)
            for file in (place / "__init__.py", *([place.parent / f"{place.name}.py"] if parts else [])):
                if file.is_file():
                    return file.resolve() if file_modules.is_local(file.resolve()) else None
        return None


def _bound_by(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> set[str]:
    if alias.asname or isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name}
    return {alias.name.partition(".")[0]}


def _bound(statement: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds at its own level, or whose attributes or elements it sets."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    if isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield from _bound_by(statement, alias)
        return
    if isinstance(statement, ast.Lambda):
        return
    if isinstance(getattr(statement, "ctx", None), ast.Store):
        while isinstance(statement, ast.Attribute | ast.Subscript):
            statement = statement.value
        if isinstance(statement, ast.Name):
            yield statement.id
            return
    for child in ast.iter_child_nodes(statement):
        yield from _bound(child)


def _used(statement: ast.AST) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id


def _counts(statement: ast.stmt) -> bool:
    """Return whether a statement counts if a whole file does: `get_config`, the main block of a script and docstrings
    do not."""
    if isinstance(statement, ast.FunctionDef):
        return statement.name != "get_config"
    if isinstance(statement, ast.If):
        return "__name__" not in _used(statement.test)
    return not _is_text(statement)


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _shape(node: Any) -> Any:
    """Return a syntax tree without positions and docstrings, the same in every Python version that can read it."""
    if isinstance(node, list):
        return [_shape(each) for each in node if not _is_text(each)]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _shape(value)) for name, value in ast.iter_fields(node) if name not in ("kind", "type_comment"))
    return (type(node).__name__, *((name, value) for name, value in fields if value not in (None, [])))
