"""The results of a benchmark as text and tables."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcnn.bench.summary import MEDIAN_ROUNDS, QUARTILE_ROUNDS, speed_ratio
from jaxcnn.describe.tables import Grid, shape_text

Record = dict[str, Any]
"""The record of a benchmark, as `jaxcnn.cli.bench` writes it."""

NAMES = {"jaxcnn": "jaxcnn", "flax": "plain flax", "torch": "PyTorch"}
"""Names of the libraries in tables."""


def machine(record: Record) -> str:
    """Return the hardware and the software versions of a benchmark in one line."""
    source = record["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in source["versions"].items() if version)
    kind = f", {source['device']}" if source["device"] not in (None, "cpu") else ""
    return f"{source['processor']}{kind}; {source['threads']} threads each; {versions}"


def step_name(measured: Record) -> str:
    """Return a step as in `vgg_d train`, with the dtype if it is not float32."""
    dtype = "" if measured["dtype"] == "float32" else f" {measured['dtype']}"
    return f"{measured['case']} {measured['mode']}{dtype}"


def failures(record: Record) -> list[str]:
    """Return one line for each failed measurement."""
    steps = [(f"{step_name(m)}, {name}", why) for m in record["steps"] for name, why in m["errors"].items()]
    rest = [
        (f"{part} {m.get('config') or m['case']}", m["error"])
        for part in ("launch", "pipeline", "probes", "corruptions")
        for m in record.get(part, ())
        if "error" in m
    ]
    return [f"{what}: {why}" for what, why in (*steps, *rest)]


def grids(record: Record) -> Iterator[Grid]:
    """Yield the tables of a benchmark: ratios, libraries, launches, the input pipeline, probes and corruptions."""
    if record["steps"]:
        yield _ratios(record["steps"])
        yield _libraries(record["steps"])
    if launches := [m for m in record["launch"] if "error" not in m]:
        rows = tuple((m["config"], f"{m['cold_seconds']:.1f}", f"{m['cached_seconds']:.1f}") for m in launches)
        headings = ("experiment", "compilation from scratch, s", "compilation cache filled, s")
        yield Grid("From `python launch.py` to the first step", headings, rows)
    if pipelines := [m for m in record["pipeline"] if "error" not in m]:
        headings = ("experiment", "images", "step, ms", "input pipeline", "without augmentation")
        rows = tuple(
            (
                m["config"],
                str(m["batch_size"]),
                f"{m['milliseconds']['full']:.2f}",
                *(f"{m[key]['median']:.1%} ({_range(m[key]['quartiles'], '.1%')})" for key in ("share", "plain_share")),
            )
            for m in pipelines
        )
        yield Grid("Share of the input pipeline in a training step", headings, rows)
    # Older records have none.
    if probed := [m for m in record.get("probes", ()) if "error" not in m]:
        headings = ("network", "images", "step, ms", "with readings, ms", "ratio", "compiled, s", "with readings, s")
        rows = tuple(
            (
                m["case"],
                f"{m['batch_size']} of {shape_text(m['image'])}",
                *(f"{m['milliseconds'][key]:,.1f}" for key in ("plain", "probed")),
                f"{m['ratio']['median']:.2f} ({_range(m['ratio']['quartiles'], '.2f')})",
                *(f"{m['compile_seconds'][key]:.1f}" for key in ("plain", "probed")),
            )
            for m in probed
        )
        yield Grid("Price of the readings of all layers in a training step", headings, rows, left=("images",))
    for m in record.get("corruptions", ()):
        if "error" not in m:
            yield _corruptions(m)


def markdown(record: Record) -> str:
    """Return all tables as Markdown."""
    return "\n\n".join([f"{machine(record)}.", *(grid.markdown() for grid in grids(record)), *failures(record)])


def kept(folder: str | Path) -> list[Record]:
    """Return the record of every bench_NAME.json in a folder."""
    return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("bench_*.json"))]


def shown_ratio(measured: Record, library: str, peer: str) -> Record | None:
    """Return how many times as fast as a peer a library is, computed from the rounds of a recorded step.

    Returns:
        As in `summary.speed_ratio`; None if one of them was not measured, or in fewer than `MEDIAN_ROUNDS` rounds.
    """
    variants = measured["variants"]
    if library not in variants or peer not in variants:
        return None
    ratio = speed_ratio(variants[library], variants[peer])
    return ratio if ratio["rounds"] >= MEDIAN_ROUNDS else None


def _ratios(steps: list[Record]) -> Grid:
    peers = [name for name in NAMES if any(name in m["ratios"] for m in steps)]
    shown = ["jaxcnn", *peers]
    rows = tuple(
        (
            step_name(m),
            f"{m['batch_size']} of {shape_text(m['image'])}",
            *(f"{m['variants'][name]['milliseconds']:,.1f}" if name in m["variants"] else "" for name in shown),
            *(_ratio(m, name) for name in peers),
        )
        for m in steps
    )
    headings = ("step", "images", *(f"{NAMES[name]}, ms" for name in shown))
    return Grid("Speed", (*headings, *(f"speed against {NAMES[name]}" for name in peers)), rows, left=("images",))


def _corruptions(measured: Record) -> Grid:
    times, ratios, forms = measured["milliseconds"], measured["ratios"], ("jaxcnn", "plain")
    rows = tuple(
        (
            name,
            *(f"{each[form]:,.2f}" for form in forms),
            f"{ratios[name]['median']:.1f} ({_range(ratios[name]['quartiles'], '.1f')})",
        )
        for name, each in times.items()
    )
    sums = (f"{sum(each[form] for each in times.values()):,.2f}" for form in forms)
    return Grid(
        f"Corruptions of 1000 images of {shape_text(measured['image'])}, {measured['batch_size']} at once",
        ("corruption", "jaxcnn, ms", "plain NumPy and SciPy, ms", "speed against the plain form"),
        rows,
        ("all", *sums, f"{measured['total']:.1f}"),
    )


_LIBRARY_HEADINGS = (
    "step", "library", "ms", "quartiles", "images/s", "GFLOP/s", "of a matrix product", "compiled, s", "first step, s",
    "memory, MB", "temporary, MB",
)  # fmt: skip


def _libraries(steps: list[Record]) -> Grid:
    rows, ends = [], []
    for m in steps:
        for name, v in m["variants"].items():
            rows.append(
                (
                    step_name(m),
                    NAMES[name],
                    f"{v['milliseconds']:,.1f}",
                    _range(v["quartiles"], ",.1f"),
                    f"{v['images_per_second']:,.0f}",
                    f"{v['gflops']:,.1f}",
                    # Older records have one peak for all rounds; for these no share is shown.
                    f"{v['utilization']:.0%}" if len(v.get("round_peak_gflops", ())) >= MEDIAN_ROUNDS else "",
                    "" if v["compile_seconds"] is None else f"{v['compile_seconds']:.1f}",
                    f"{v['first_step_seconds']:.1f}",
                    *(
                        "" if v[key] is None else f"{v[key] / 1e6:,.0f}"
                        for key in ("peak_memory_bytes", "temporary_bytes")
                    ),
                )
            )
        ends.append(len(rows))
    return Grid("Libraries", _LIBRARY_HEADINGS, tuple(rows), left=("library",), sections=frozenset(ends))


def _ratio(measured: Record, peer: str) -> str:
    """Return the median and, with enough rounds, the quartiles."""
    ratio = shown_ratio(measured, "jaxcnn", peer)
    if ratio is None:
        return "too few rounds" if peer in measured["ratios"] else ""
    enough = ratio["rounds"] >= QUARTILE_ROUNDS
    spread = _range(ratio["quartiles"], ".2f") if enough else f"{ratio['rounds']} rounds"
    return f"{ratio['ratio']:.2f} ({spread})"


def _range(ends: list[float], form: str) -> str:
    return " to ".join(f"{end:{form}}" for end in ends)
