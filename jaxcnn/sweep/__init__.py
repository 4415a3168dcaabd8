"""Sweeps: many runs that differ in a few settings, and the table that compares them."""

from jaxcnn.sweep.summary import summarize
from jaxcnn.sweep.table import Table

__all__ = ["Table", "summarize"]
