"""The page of the probes."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from jaxcnn.plots.figures import Figure
from jaxcnn.plots.html_page import figure_grid, html_page


@dataclass(frozen=True)
class Network:
    """What a page says about a network.

    Attributes:
        label: its name.
        summary: one sentence.
        findings: sentences of the diagnosis, each with the commands that try its remedies.
    """

    label: str
    summary: str
    findings: Sequence[tuple[str, Sequence[str]]]


def probe_page(title: str, note: str, networks: Sequence[Network], rows: Sequence[Sequence[Figure]]) -> str:
    """Return the page.

    Args:
        title: heading.
        note: how the readings were made.
        networks: the networks, in their order.
        rows: result of `probing.probe_figures`.
    """
    sections = "\n".join(f"<section>{figure_grid(row)}</section>" for row in rows)
    return html_page(title, note, f'<section class="networks">{"".join(map(_network, networks))}</section>\n{sections}')


def _network(network: Network) -> str:
    parts = [f"<h2>{html.escape(network.label)}</h2><p>{html.escape(network.summary)}</p>"]
    for text, commands in network.findings:
        tries = "".join(f"<p><code>{html.escape(command)}</code></p>" for command in commands)
        more = f'<p class="note">try</p>{tries}' if tries else ""
        parts.append(f'<div class="finding"><p>{html.escape(text)}</p>{more}</div>')
    if not network.findings:
        parts.append('<div class="fine"><p>No threshold of the diagnosis is passed.</p></div>')
    return f'<div class="network">{"".join(parts)}</div>'
