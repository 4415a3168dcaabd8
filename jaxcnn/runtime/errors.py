"""The one exception for input that a person can mend."""


class InputError(ValueError):
    """A value, file or folder given by the user is not usable.

    The message is one short text that names the field, the value, what is allowed and what to do. The command line
    prints it without a traceback and exits with status 2.
    """
