"""A room imports only rooms listed before it, and no files import each other in a circle."""

import ast
import graphlib
from pathlib import Path

import jaxcnn

ROOT = Path(jaxcnn.__file__).parent
ROOMS = (
    "runtime", "objectives", "config", "ops", "norms", "layers", "models", "corruptions", "data", "training",
    "evaluation", "probes", "plots", "describe", "runs", "weights", "shift", "sweep", "claims", "bench", "cli",
)  # fmt: skip


def module(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module(path): path for path in ROOT.rglob("*.py")}


def imported(path):
    """Yield the modules of this package that a file imports, including imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxcnn":
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in FILES)


def room(name):
    return [*name.split("."), ""][1]


def test_every_file_is_in_a_room():
    assert {room(name) for name in FILES} <= {*ROOMS, "", "__main__"}


def test_every_folder_is_a_package():
    """Setuptools omits other folders from a wheel."""
    assert {path.parent for path in FILES.values()} == {path.parent for path in ROOT.rglob("__init__.py")}


def test_a_room_imports_only_rooms_before_it():
    wrong = [
        f"{name} imports {other}"
        for name, path in FILES.items()
        if room(name) in ROOMS
        for other in imported(path)
        if room(other) not in ROOMS[: ROOMS.index(room(name)) + 1]
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle():
    """Files of a package import each other by file, not through the exports of the package."""
    graph = {name: {other for other in imported(path)} for name, path in FILES.items()}
    graphlib.TopologicalSorter(graph).prepare()
