"""The page of the probes: one HTML file with its pictures inside, which needs no network and no script."""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jaxcnn.plots.probing import Figure, figure_page

_STYLE = """
:root { color-scheme: light; --ink: #222; --muted: #595959; --line: #d9d9d9; --warn: #a13d00; --good: #00693e; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 16px; color: var(--ink); background: #fff;
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0.4em 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 1.6em 0 0.4em; overflow-wrap: anywhere; }
p { margin: 0.4em 0; }
.note, figcaption p { color: var(--muted); font-size: 0.9rem; }
.grid { display: grid; gap: 28px 32px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.networks { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.network { border: 1px solid var(--line); border-radius: 6px; padding: 4px 14px 10px; min-width: 0; }
.network h2 { margin-top: 0.5em; }
.finding { border-left: 4px solid var(--warn); padding-left: 10px; margin: 12px 0; }
.fine { border-left: 4px solid var(--good); padding-left: 10px; margin: 12px 0; }
figure { margin: 0; min-width: 0; max-width: 620px; }
figcaption strong { font-size: 1.02rem; }
svg { display: block; width: 100%; height: auto; }
code { font: 0.86rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; white-space: pre-wrap;
  background: #f4f4f4; padding: 1px 4px; border-radius: 3px; }
section + section { border-top: 1px solid var(--line); margin-top: 28px; padding-top: 20px; }
"""


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
    sections = "\n".join(f'<section class="grid">{"".join(map(_figure, row))}</section>' for row in rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p class="note">{html.escape(note)}</p>
<section class="networks">{"".join(map(_network, networks))}</section>
{sections}
</body>
</html>
"""


def _network(network: Network) -> str:
    parts = [f"<h2>{html.escape(network.label)}</h2><p>{html.escape(network.summary)}</p>"]
    for text, commands in network.findings:
        tries = "".join(f"<p><code>{html.escape(command)}</code></p>" for command in commands)
        more = f'<p class="note">try</p>{tries}' if tries else ""
        parts.append(f'<div class="finding"><p>{html.escape(text)}</p>{more}</div>')
    if not network.findings:
        parts.append('<div class="fine"><p>No threshold of the diagnosis is passed.</p></div>')
    return f'<div class="network">{"".join(parts)}</div>'


def _figure(figure: Figure) -> str:
    caption = f"<figcaption><strong>{html.escape(figure.title)}</strong><p>{html.escape(figure.note)}</p></figcaption>"
    return f"<figure>{caption}{_svg(figure)}</figure>"


def _svg(figure: Figure) -> str:
    """Return the drawing as an svg element, whose text is text and whose identifiers are its own."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": figure.name, "svg.fonttype": "none"}):
        figure_page(figure).figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{figure.name}-", svg)
    label = html.escape(figure.title, quote=True)
    return re.sub(r"<svg\b", f'<svg role="img" aria-label="{label}"', svg, count=1)
