"""Experiments run in a folder: the loop, its programs, checkpoints, evaluation."""
