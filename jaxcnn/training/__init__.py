"""The optax chain, the state and the steps: pure functions, no files."""
