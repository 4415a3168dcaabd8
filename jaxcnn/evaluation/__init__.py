"""Exact metrics, test-time augmentation and scores."""
