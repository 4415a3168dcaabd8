"""Pages of reports, parsed and shown in a browser."""

import html
import html.parser
import json
import re
import shutil
import subprocess

import pytest


class Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.references, self.texts = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "style", "clip-path"):
                self.references += re.findall(r"url\(([^)]*)\)", value) if "url" in value else []
                self.references += [value] if name in ("href", "src", "xlink:href") else []

    def handle_data(self, data):
        self.texts.append(data)


BROWSER = next(
    (name for name in ("chromium-headless-shell", "chromium", "chromium-browser") if shutil.which(name)), None
)

MEASURE = """<!doctype html><body><iframe style="border:0;width:{width}px;height:800px"></iframe><script>
const frame = document.querySelector("iframe");
frame.srcdoc = {page};
frame.onload = () => {{
  const inside = frame.contentDocument, root = inside.documentElement;
  const texts = [...inside.querySelectorAll("svg text, p, h1, h2, strong, code")];
  const boxes = texts.map((text) => text.getBoundingClientRect());
  const svgs = [...inside.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect());
  const smallest = (selector) => Math.min(...[...inside.querySelectorAll(selector)].map((each) => {{
    const svg = each.closest("svg"), size = parseFloat(frame.contentWindow.getComputedStyle(each).fontSize);
    return svg ? size * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : size;
  }}));
  const found = {{
    width: root.clientWidth, scroll: root.scrollWidth, right: Math.max(...boxes.map((box) => box.right)),
    left: Math.min(...boxes.map((box) => box.left)), letters: smallest("svg text"), words: smallest("p, code"),
    columns: new Set(svgs.map((box) => Math.round(box.left / 100))).size, svgs: svgs.length,
    heading: inside.querySelector("h1").textContent,
  }};
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(found);
}};
</script>"""


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="needs Chromium, on Debian the package chromium-headless-shell"
)


def measured(page, width, folder):
    """Return sizes and positions on a page in a window of this width."""
    text = json.dumps(page).replace("</", "<\\/")
    (folder / "measure.html").write_text(MEASURE.format(width=width, page=text), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1600,900", "--dump-dom"]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=10000",
        f"file://{folder}/measure.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(html.unescape(re.search(r"<pre>(.*)</pre>", done.stdout)[1]))


def check_fits(page, width, columns, folder):
    """Check that nothing overflows and that letters are large enough; return what was measured."""
    found = measured(page, width, folder)
    assert found["width"] == width and found["scroll"] <= width
    assert found["left"] >= 0 and found["right"] <= width
    assert found["letters"] >= 10 and found["words"] >= 13
    assert found["columns"] == columns
    return found


def check_self_contained(page):
    """Check that a page asks for nothing else, and that its references are to identifiers that exist once; return it
    parsed."""
    parsed = Parser()
    parsed.feed(page)
    assert "script" not in parsed.tags and "@import" not in page
    assert parsed.references and all(each.startswith(("#", "data:")) for each in parsed.references)
    assert len(parsed.ids) == len({*parsed.ids})
    used = {each.removeprefix("#") for each in parsed.references if each.startswith("#")}
    assert used and used <= {*parsed.ids}
    return parsed
