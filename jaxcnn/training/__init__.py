"""The optimizer, the training state and the steps: pure functions that access no files."""
