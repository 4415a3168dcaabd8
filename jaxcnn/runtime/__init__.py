"""What everything else stands on: errors, field checks, files, locks, XLA, provenance."""
