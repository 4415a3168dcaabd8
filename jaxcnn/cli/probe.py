"""The command `python -m jaxcnn probe`: train a little, read the layers, say what is wrong and try what may help.

The exit status is 0 if the report is written; 2 if an argument, a file or the data cannot be used; 3 if not even the
first loss is finite; 130 after Ctrl-C. Only after status 0 is there anything new on disk.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from jaxcnn.cli.arguments import parse, take_names
from jaxcnn.cli.report_files import check_out, write_files
from jaxcnn.config import Experiment, load_config, override
from jaxcnn.models import LeNet5
from jaxcnn.plots.figures import draw_figures
from jaxcnn.plots.probe_page import Network, probe_page
from jaxcnn.plots.probing import probe_figures
from jaxcnn.probes.diagnosis import Finding, arguments, diagnose, distinct
from jaxcnn.probes.record import Record
from jaxcnn.runs.digests import RestoreError
from jaxcnn.runs.probe_run import probe_run
from jaxcnn.runs.signals import Preempted
from jaxcnn.runs.workdir import load_saved
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.xla_flags import set_xla_flags
from jaxcnn.training.non_finite import NonFinite

_ABOUT = (
    "Train a network for some steps and read its gradients, units and loss surface: probe.html, probe.png and "
    "probe.json in a folder. TARGET, the first argument, is a config file, or the folder of a run that is continued in "
    "memory."
)
_BASE = "as it is"


@dataclass(frozen=True)
class Probe:
    """The options of a command line."""

    config: tyro.conf.FlagConversionOff[Experiment]
    """The experiment; `--config.any.field=value` changes a field."""
    steps: int = 200
    """Training steps."""
    every: int = 10
    """Steps from one reading to the next."""
    probes: str = "gradients,ics,landscape"
    """What to read, separated by commas: gradients, ics, drift, landscape, hessian, lags. ics costs one gradient for
    each layer at every reading."""
    compare: str | None = None
    """Also train what the diagnosis suggests, on the same page; or, as often as needed, a change of your own:
    --compare=model.norm=batch --compare=model.activation=relu,model.kernel_init=he."""
    out: str = ""
    """Folder of the report; without it runs/NAME_probe for a file NAME.py, and RUN_probe for a run."""


def main(arguments: list[str], *, prog: str) -> int:
    """Probe as the arguments specify; an error is one message on stderr.

    Args:
        arguments: arguments of the command line, without the program's name.
        prog: name of the program in help and messages.

    Returns:
        The exit status.
    """
    set_xla_flags()
    try:
        _probe(arguments, prog)
    except (KeyboardInterrupt, Preempted):
        print(f"{prog}: interrupted; nothing was written", file=sys.stderr)
        return 130
    except (InputError, NonFinite, RestoreError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 3 if isinstance(error, NonFinite) else 2
    return 0


def _probe(words: list[str], prog: str) -> None:
    if {"-h", "--help"} & {*words}:
        parse(
            ["--help"], Probe(config=Experiment(model=LeNet5()), out="runs/NAME_probe"), prog=prog, description=_ABOUT
        )
    if not words or words[0].startswith("-"):
        raise InputError(
            "the first argument must be a config file or the folder of a run, as in configs/lenet5_digits.py."
        )
    target, rest, own = words[0], *_take_compare(words[1:])
    run = target if Path(target).is_dir() else None
    start = load_config(target) if run is None else load_saved(target)

    def options(more: Sequence[str] = ()) -> Probe:
        left, experiment = take_names([*rest, *more], start)
        return parse(left, Probe(config=experiment), prog=prog, description=_ABOUT)

    chosen = options()
    for name in ("steps", "every"):
        if getattr(chosen, name) < 1:
            raise InputError(f"--{name} is {getattr(chosen, name)}; it must be at least 1.")
    if run is not None and own is not None:
        raise InputError(
            "--compare trains every network from its initial weights, but the target is a run; give a config file."
        )
    reading = {"probes.every": chosen.every, "probes.instruments": tuple(chosen.probes.split(","))}
    others = [(_changes(text), override(options(_arguments(text)).config, reading)) for text in own or ()]
    default = f"{Path(target).resolve()}_probe" if run else f"runs/{Path(target).stem}_probe"
    out = check_out(Path(chosen.out or default))
    experiment = override(chosen.config, reading)

    base = probe_run(experiment, steps=chosen.steps, run=run, label=_BASE)
    found = [(base, diagnose(base, experiment))]
    _tell(*found[0])
    if own is not None and not own:
        others = [(changes, override(experiment, changes)) for changes in distinct(found[0][1])]
        if not others:
            print("--compare has nothing to try; name a change, as in --compare=model.norm=batch.")
    for changes, other in others:
        record = _compared(changes, other, chosen.steps, given=bool(own))
        if record is not None:
            found.append((record, diagnose(record, other)))
            _tell(*found[-1])
    write_files(out, _files(words, chosen, found))
    for name in ("probe.html", "probe.png", "probe.json"):
        print(out / name)


def _take_compare(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return the other arguments, and the changes to compare: None without `--compare`, none for the remedies."""
    mine = [word for word in words if word == "--compare" or word.startswith("--compare=")]
    texts = [word.partition("=")[2] for word in mine if "=" in word]
    return [word for word in words if word not in mine], texts if mine else None


def _changes(text: str) -> dict[str, str]:
    """Return the changes that `FIELD=VALUE,FIELD=VALUE` names."""
    pairs = [each.partition("=") for each in text.split(",")]
    if not all(path and equals for path, equals, _ in pairs):
        raise InputError(f"--compare is {text!r}; it must be FIELD=VALUE,FIELD=VALUE, as in model.norm=batch.")
    return {path: value for path, _, value in pairs}


def _arguments(text: str) -> list[str]:
    return arguments(_changes(text)).split()


def _compared(changes: Mapping[str, Any], experiment: Experiment, steps: int, *, given: bool) -> Record | None:
    """Return the record of another network; None if a remedy cannot be trained, which is said."""
    label = ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in changes.items())
    try:
        return probe_run(experiment, steps=steps, label=label, changes=changes)
    except (InputError, NonFinite) as error:
        if given:
            raise
        print(f"{label} is left out: {error}", file=sys.stderr)
        return None


def _summary(record: Record) -> str:
    first, last, updates = record.losses[0], record.losses[-1], len(record.losses) - 1
    return f"The loss is {first:.3g} at step {record.steps[0]:,} and {last:.3g} after {updates:,} more."


def _tell(record: Record, findings: Sequence[Finding]) -> None:
    """Print a diagnosis."""
    print(f"{record.label}: {_summary(record)}")
    for finding in findings:
        print(f"  {finding.text}")
        for changes in finding.remedies:
            print(f"    try {arguments(changes)}")
    if not findings:
        print("  No threshold of the diagnosis is passed.")


def _files(
    words: Sequence[str], options: Probe, found: Sequence[tuple[Record, Sequence[Finding]]]
) -> dict[str, Callable[[Path], Any]]:
    """Return for each file of the report the function that writes it."""
    records = [record for record, _ in found]
    rows, title = probe_figures(records), f"Probes of {Path(words[0]).name}"
    command = " ".join(["python -m jaxcnn probe", *words])
    note = f"{command} · {options.steps:,} steps of {records[0].images} images, a reading every {options.every}"
    networks = [
        Network(
            record.label,
            _summary(record),
            [(f.text, [arguments({**record.changes, **changes}) for changes in f.remedies]) for f in findings],
        )
        for record, findings in found
    ]
    runs = [
        record.to_json()
        | {
            "diagnosis": [
                dataclasses.asdict(finding) | {"arguments": [arguments(changes) for changes in finding.remedies]}
                for finding in findings
            ]
        }
        for record, findings in found
    ]
    content = {"target": words[0], "command": command, "settings": records[0].history.settings, "networks": runs}
    # Numbers that are not finite are None.
    json.dumps(content, allow_nan=False)
    return {
        "probe.json": lambda path: write_json(path, content),
        "probe.html": lambda path: path.write_text(probe_page(title, note, networks, rows), encoding="utf-8"),
        "probe.png": lambda path: draw_figures(rows, path, title=title),
    }
