"""The error for numbers with which training or evaluation cannot continue."""


class NonFinite(FloatingPointError):
    """A loss, a weight, a logit or a score is NaN or infinite; the message says which, and what to do."""
