"""The page of the probes: self-contained, valid, and readable in a browser of the width of a phone and of a desktop."""

import pytest

from jaxcnn.plots.probe_page import Network, probe_page
from jaxcnn.plots.probing import probe_figures
from tests.plots.pages import check_fits, check_self_contained, needs_browser
from tests.plots.test_probing import full

LABELS = ("as it is", "activation=relu, kernel_init=orthogonal, norm=local_response_caffe")
COMMANDS = ["--config.model.activation=relu --config.model.kernel_init=he --config.optimizer.learning_rate=0.001"]


# Its last word is wider than a phone.
COMMAND = (
    f"python -m jaxcnn probe a.py {'--config.field=value ' * 20}"
    "--compare=model.activation=relu,model.kernel_init=he,model.norm=batch"
)


@pytest.fixture(scope="module")
def page():
    networks = [Network(label, "The loss <falls>.", [("It vanishes & dies.", COMMANDS)]) for label in LABELS]
    rows = probe_figures([full(label=label) for label in LABELS])
    return probe_page("Probes of a.py", COMMAND, networks, rows)


@pytest.fixture(scope="module")
def parsed(page):
    return check_self_contained(page)


def test_pictures_have_descriptions_and_text_that_can_be_selected(page, parsed):
    count = parsed.tags.count("svg")
    assert count == parsed.tags.count("figure") > 10
    assert page.count('<svg role="img" aria-label="') == count
    assert "dies here" in parsed.texts and "fc20" in parsed.texts


def test_texts_are_escaped(page):
    assert "The loss &lt;falls&gt;." in page and "vanishes &amp; dies" in page


def test_a_network_without_a_finding_says_so():
    assert "No threshold of the diagnosis is passed." in probe_page("a", "b", [Network("c", "d", [])], [])


@needs_browser
@pytest.mark.parametrize(("width", "columns"), [(390, 1), (1280, 2)])
def test_in_a_browser_the_page_fits_and_its_letters_are_large_enough(page, width, columns, tmp_path):
    found = check_fits(page, width, columns, tmp_path)
    assert found["heading"] == "Probes of a.py" and found["svgs"] > 10
