"""Numbers with which training or evaluation cannot go on."""


class NonFinite(FloatingPointError):
    """A loss, a weight, a logit or a score is NaN or infinite; the message says which one, and what to do."""
