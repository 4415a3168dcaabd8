"""Statements of common teaching notes about normalization and regularization, each decided by an experiment."""
