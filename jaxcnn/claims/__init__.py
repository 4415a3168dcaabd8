"""Statements of common teaching notes about normalization, regularization and gradients, each decided by an experiment."""
