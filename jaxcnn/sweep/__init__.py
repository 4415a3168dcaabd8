"""Sweeps: many experiments in one folder, run anywhere, resumed and summarized.

Import it as `from jaxcnn import sweep`.
"""

from jaxcnn.sweep.grids import grid, random
from jaxcnn.sweep.points import Record
from jaxcnn.sweep.processes import Processes
from jaxcnn.sweep.running import run

__all__ = ["Processes", "Record", "grid", "random", "run"]
