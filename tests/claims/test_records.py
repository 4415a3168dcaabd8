"""Records of claims: where they are, and the tables made from them."""

import json
from pathlib import Path

import pytest

from jaxcnn.claims import records
from jaxcnn.claims.batch_norm_rates import CLAIM
from jaxcnn.claims.claim import Verdict
from jaxcnn.cli.report import update_tables

ROOT = Path(__file__).parents[2]
MEASUREMENTS = {
    "rates": [0.1, 1.0, 10.0],
    "losses": {"none": [[0.5] * 5, [None] * 5, [None] * 5], "batch": [[0.5] * 5, [0.4] * 5, [None] * 5]},
}


@pytest.fixture
def record():
    verdict = CLAIM.decide(MEASUREMENTS)
    return {
        "claim": CLAIM.name,
        "seeds": 5,
        "minutes": 7.2,
        "measurements": MEASUREMENTS,
        "verdict": verdict.verdict,
        "effect": verdict.effect,
        "interval": verdict.interval,
        "conditions": verdict.conditions,
    }


def test_records_of_a_checkout_are_in_configs_results():
    assert records.in_checkout() and records.package_folder() == ROOT / "configs/results/claims"


def test_a_record_is_written_with_its_picture_and_read_back(record, tmp_path):
    path = records.write(record, tmp_path / "new")
    assert path == tmp_path / "new/batch_norm_rates.json"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert records.read(tmp_path / "new") == {"batch_norm_rates": json.loads(json.dumps(record))}
    assert records.read(tmp_path) == {}


def test_the_table_of_a_page_has_verdict_and_effect(record, tmp_path):
    records.write(record, tmp_path / "claims")
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- claims: begin -->\nprevious\n<!-- claims: end -->\nafter\n")
    update_tables(page, tmp_path)
    *_, row, _, _ = page.read_text().splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "[batch_norm_rates](configs/results/claims/batch_norm_rates.png)",
        CLAIM.statement,
        "holds",
        f"10 (10 to 10), {CLAIM.effect}",
        "5",
    ]
    assert "previous" not in page.read_text()


def test_an_effect_without_a_value_is_none():
    assert records.effect_text(CLAIM, Verdict("does not hold", None, (None, 2.0), "")).startswith("none (none to 2), ")


@pytest.mark.parametrize("verdict", ["HOLDS", "holds, perhaps", ""])
def test_verdicts_have_three_forms(verdict):
    with pytest.raises(ValueError, match="must be holds, does not hold, or holds if"):
        Verdict(verdict, 1.0, (0.0, 2.0), "")
