"""The page of the probes: self-contained, valid, and readable in a browser of the width of a phone and of a desktop."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from jaxcnn.plots.probe_page import Network, probe_page
from jaxcnn.plots.probing import probe_figures
from tests.plots.test_probing import full

LABELS = ("as it is", "activation=relu, kernel_init=orthogonal, norm=local_response_caffe")
COMMANDS = ["--config.model.activation=relu --config.model.kernel_init=he --config.optimizer.learning_rate=0.001"]


@pytest.fixture(scope="module")
def page():
    networks = [Network(label, "The loss <falls>.", [("It vanishes & dies.", COMMANDS)]) for label in LABELS]
    rows = probe_figures([full(label=label) for label in LABELS])
    return probe_page("Probes of a.py", "python -m jaxcnn probe a.py " + "--config.field=value " * 20, networks, rows)


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


@pytest.fixture(scope="module")
def parsed(page):
    parser = Parser()
    parser.feed(page)
    return parser


def test_the_page_asks_for_nothing_else(page, parsed):
    assert "script" not in parsed.tags and "@import" not in page
    assert parsed.references and all(each.startswith(("#", "data:")) for each in parsed.references)


def test_references_inside_the_pictures_are_to_identifiers_that_exist_once(parsed):
    assert len(parsed.ids) == len({*parsed.ids})
    used = {each.removeprefix("#") for each in parsed.references if each.startswith("#")}
    assert used and used <= {*parsed.ids}


def test_pictures_have_descriptions_and_text_that_can_be_selected(page, parsed):
    count = parsed.tags.count("svg")
    assert count == parsed.tags.count("figure") > 10
    assert page.count('<svg role="img" aria-label="') == count
    assert "dies here" in parsed.texts and "fc20" in parsed.texts


def test_texts_are_escaped(page):
    assert "The loss &lt;falls&gt;." in page and "vanishes &amp; dies" in page


def test_a_network_without_a_finding_says_so():
    assert "No threshold of the diagnosis is passed." in probe_page("a", "b", [Network("c", "d", [])], [])


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
  document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
}};
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium, on Debian the package chromium-headless-shell")
@pytest.mark.parametrize(("width", "columns"), [(390, 1), (1280, 2)])
def test_in_a_browser_the_page_fits_and_its_letters_are_large_enough(page, width, columns, tmp_path):
    text = json.dumps(page).replace("</", "<\\/")
    (tmp_path / "measure.html").write_text(MEASURE.format(width=width, page=text), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1600,900", "--dump-dom"]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=10000",
        f"file://{tmp_path}/measure.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r"<pre>(.*)</pre>", done.stdout)[1])
    assert found["heading"] == "Probes of a.py" and found["svgs"] > 10
    assert found["width"] == width and found["scroll"] <= width
    assert found["left"] >= 0 and found["right"] <= width
    assert found["letters"] >= 10 and found["words"] >= 13
    assert found["columns"] == columns
