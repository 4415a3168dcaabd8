"""Repairs of a shift that need no training on source images: batch-norm adaptation, TENT, weighting, correction."""
