"""Statements of common teaching notes about normalization, regularization and gradients, each with an experiment that
decides it."""
