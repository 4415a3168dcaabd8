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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident memory is read from /proc")
def test_thirty_points_in_one_process_do_not_increase_its_memory(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(POINTS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = np.array([float(line) for line in done.stdout.split()])
    assert len(sizes) == POINTS
    growth = np.polyfit(np.arange(5, POINTS), sizes[5:], 1)[0]
    assert growth < 2, f"{growth:.2f} MB per point: {sizes.round(1).tolist()}"
