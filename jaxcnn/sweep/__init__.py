"""Sweeps: many experiments in one folder, run anywhere, resumed and summarized.

Import it as `from jaxcnn import sweep`.
"""

from jaxcnn.sweep.grids import grid, random
from jaxcnn.sweep.pictures import draw_summary
from jaxcnn.sweep.points import Record
from jaxcnn.sweep.processes import Processes
from jaxcnn.sweep.running import run
from jaxcnn.sweep.summary import summarize
from jaxcnn.sweep.table import Table

__all__ = ["Processes", "Record", "Table", "draw_summary", "grid", "random", "run", "summarize"]
