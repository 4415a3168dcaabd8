"""The files of a report: report.json, a page that opens offline, and a picture."""

import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.plots.figures import Figure, draw_figures
from jaxcnn.plots.html_page import figure_grid, html_page, table
from jaxcnn.runtime.atomic import write_json
from jaxcnn.shift.answers import Answers, answers
from jaxcnn.shift.detectors.detection import EFFECTS, Detection
from jaxcnn.shift.figures import figures
from jaxcnn.shift.reporting import Report

_QUESTIONS = {
    "shift": "Is there a shift?",
    "where": "Where?",
    "kind": "What kind?",
    "cost": "What does it cost?",
    "repairs": "What repairs it?",
    "next": "What to do next",
}


def report_files(report: Report, *, title: str, command: str) -> Mapping[str, Callable[[Path], Any]]:
    """Return for each file of a report the function that writes it.

    Args:
        report: the report.
        title: heading.
        command: command line that made the report.
    """
    found, said = figures(report), answers(report)
    content = {"command": command, **report.to_json(), "answers": {name: getattr(said, name) for name in _QUESTIONS}}
    # Numbers that are not finite have no form in JSON.
    json.dumps(content, allow_nan=False)
    page = _page(report, said, found, title, command)
    return {
        "report.json": lambda path: write_json(path, content),
        "report.html": lambda path: path.write_text(page, encoding="utf-8"),
        "report.png": lambda path: draw_figures([*found.values()], path, title=title),
    }


def _page(report: Report, said: Answers, found: Mapping[str, Sequence[Figure]], title: str, command: str) -> str:
    note = f"{command} · source: {report.about['source']} · target: {report.about['target']}"
    details = {
        "shift": _tests(report.findings.detections),
        "where": "",
        "kind": "" if report.kind is None else _tests(report.kind.tests),
        "cost": _scores(report),
        "repairs": _repairs(report),
    }
    sections = [_section(_QUESTIONS["next"], "".join(f"<p>{html.escape(text)}</p>" for text in said.next), "")]
    for name, detail in details.items():
        answer = f"<p>{html.escape(getattr(said, name))}</p>"
        sections.append(_section(_QUESTIONS[name], answer + figure_grid(found.get(name, ())), detail))
    return html_page(title, note, "\n".join(sections))


def _section(heading: str, body: str, detail: str) -> str:
    more = f"<details><summary>Numbers</summary>{detail}</details>" if detail else ""
    return f"<section><h2>{html.escape(heading)}</h2>{body}{more}</section>"


def _tests(tests: Sequence[Detection]) -> str:
    headings = ("test", "compared", "statistic", "p", "corrected p", "effect size", "what it is", "verdict")
    rows = [
        (
            each.detector.replace("_", " "),
            each.features,
            f"{each.statistic:.4g}",
            f"{each.p:.2g}",
            f"{each.p_holm:.2g}",
            f"{each.effect:.3g}",
            EFFECTS[each.detector],
            "shift" if each.shifted else "no shift found",
        )
        for each in tests
    ]
    return table(headings, rows)


def _scores(report: Report) -> str:
    cost = report.cost
    columns = [("source", cost.source), *([("target", cost.target)] if cost.target is not None else [])]
    rows = [
        ("accuracy", *(f"{100 * scores.accuracy:.2f} %" for _, scores in columns)),
        ("negative log-likelihood, nats", *(f"{scores.nll:.4f}" for _, scores in columns)),
        ("expected calibration error", *(f"{scores.ece:.4f}" for _, scores in columns)),
        ("images", *(f"{scores.n:,}" for _, scores in columns)),
    ]
    return table(("", *(name for name, _ in columns)), rows)


def _repairs(report: Report) -> str:
    rows = []
    for each in report.repairs:
        score, gain = "", ""
        if each.name in report.scores:
            own = report.scores[each.name]
            score = f"{100 * own.after.accuracy:.1f} %"
            if len(own.accuracies) > 1:
                low, high = (100 * end(own.accuracies) for end in (min, max))
                score += f" ({low:.1f} to {high:.1f} with {len(own.accuracies)} seeds)"
            low, high = own.interval
            gain = f"{100 * own.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in each.details.items())
        text = " ".join(filter(None, [f"Refused: {each.refused}" if each.refused else each.about, *each.warnings]))
        rows.append((each.name, score, gain, text, numbers, f"{each.seconds:.1f} s"))
    return table(("repair", "accuracy", "gain, points", "what it does", "numbers", "time"), rows)
