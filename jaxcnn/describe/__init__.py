"""Architectures and norms as tables, words and pictures."""
