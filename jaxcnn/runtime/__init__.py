"""The foundation of all other packages: errors, field checks, files, locks, XLA settings, provenance."""
