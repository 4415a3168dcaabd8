"""The memory of a process that trains one run after another stays constant."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
POINTS = 30
SCRIPT = """
import os, sys
import jaxcnn
from jaxcnn import load_config, override

base = override(load_config("tests/tiny.py"), {"epochs": 2})

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

for i in range(int(sys.argv[2])):
    point = override(base, {"optimizer.learning_rate": 0.001 * (i + 1), "seed": i})
    jaxcnn.train(point, f"{sys.argv[1]}/{i}", verbose=False)
    print(resident(), flush=True)
"""

NETWORKS = """
import sys
import jax
import jaxcnn
from jaxcnn import load_config, override

base = override(load_config("tests/tiny.py"), {"epochs": 1})
for features in range(2, 14):
    jaxcnn.train(override(base, {"model.features": features}), f"{sys.argv[1]}/{features}", verbose=False)
    print(len(jax.devices()[0].client.live_executables()), flush=True)
"""


def run(script, *arguments):
    """Run a script on one device, and return the numbers that it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array([float(line) for line in done.stdout.split()])


@pytest.mark.slow
def test_programs_of_earlier_networks_are_freed(tmp_path):
    """Otherwise a sweep over many networks would need more and more memory."""
    counts = run(NETWORKS, tmp_path)
    assert len(counts) == 12 and counts[-1] == counts[8]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident memory is read from /proc")
def test_thirty_points_in_one_process_do_not_increase_its_memory(tmp_path):
    sizes = run(SCRIPT, tmp_path, POINTS)
    assert len(sizes) == POINTS
    growth = np.polyfit(np.arange(5, POINTS), sizes[5:], 1)[0]
    assert growth < 2, f"{growth:.2f} MB per point: {sizes.round(1).tolist()}"
