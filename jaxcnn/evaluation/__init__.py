"""Exact metrics, test-time augmentation, scores."""
