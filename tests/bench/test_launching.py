"""Launches are timed until their first step."""

from pathlib import Path

import pytest

from jaxcnn.bench.launching import time_launches
from jaxcnn.bench.process import WorkerError

TINY = Path(__file__).parents[1] / "tiny.py"


@pytest.mark.slow
def test_launches_are_timed_from_the_start_of_python():
    found = time_launches(TINY, 1)
    # No interpreter imports JAX in less time.
    assert found.keys() == {"cold_seconds", "cached_seconds"} and min(found.values()) > 0.5


@pytest.mark.slow
def test_a_launch_that_fails_says_why(tmp_path):
    with pytest.raises(WorkerError, match=r"^exit status 2: .*none\.py does not exist"):
        time_launches(tmp_path / "none.py", 1)
