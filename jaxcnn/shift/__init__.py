"""Covariate shift: detect it, and measure what it costs."""
