"""A report as one HTML file with its pictures inside, which needs no network and no script."""

import html
import io
import re
from collections.abc import Sequence

from jaxcnn.plots.figures import Figure, figure_page

_STYLE = """
:root { color-scheme: light; --ink: #222; --muted: #595959; --line: #d9d9d9; --warn: #a13d00; --good: #00693e; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 16px; color: var(--ink); background: #fff;
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0.4em 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 1.6em 0 0.4em; overflow-wrap: anywhere; }
p { margin: 0.4em 0; overflow-wrap: anywhere; }
.note, figcaption p { color: var(--muted); font-size: 0.9rem; }
.grid { display: grid; gap: 28px 32px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.networks { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.network { border: 1px solid var(--line); border-radius: 6px; padding: 4px 14px 10px; min-width: 0; }
.network h2 { margin-top: 0.5em; }
.finding { border-left: 4px solid var(--warn); padding-left: 10px; margin: 12px 0; }
.fine { border-left: 4px solid var(--good); padding-left: 10px; margin: 12px 0; }
figure { margin: 0; min-width: 0; max-width: 620px; }
figcaption strong { font-size: 1.02rem; }
table { border-collapse: collapse; font-size: 0.9rem; width: 100%; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.table { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; }
code { font: 0.86rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; white-space: pre-wrap;
  background: #f4f4f4; padding: 1px 4px; border-radius: 3px; }
section + section { border-top: 1px solid var(--line); margin-top: 28px; padding-top: 20px; }
"""


def html_page(title: str, note: str, body: str) -> str:
    """Return the page.

    Args:
        title: heading.
        note: how its content was made.
        body: HTML below them.
    """
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
{body}
</body>
</html>
"""


def figure_grid(figures: Sequence[Figure]) -> str:
    """Return HTML that shows figures beside each other where the window is wide enough."""
    return f'<div class="grid">{"".join(map(_figure, figures))}</div>'


def _figure(figure: Figure) -> str:
    caption = f"<figcaption><strong>{html.escape(figure.title)}</strong><p>{html.escape(figure.note)}</p></figcaption>"
    return f"<figure>{caption}{_svg(figure)}</figure>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table, which scrolls in itself if the window is narrow.

    Args:
        headings: of the columns.
        rows: texts.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    head, body = line("th", headings), "".join(line("td", row) for row in rows)
    return f'<div class="table"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


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
