"""The exception for errors that the user can correct."""


class InputError(ValueError):
    """A value, file or folder that the user has specified is not usable.

    The message is short and names the field, the value, what is allowed and what to do. The command line
    prints it without a traceback and exits with status 2.
    """
