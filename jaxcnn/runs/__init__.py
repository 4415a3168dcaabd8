"""Runs of experiments in folders: the training loop, its programs, checkpoints and evaluation."""
