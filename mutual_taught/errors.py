"""Errors that a user can mend: one line each, exit code 1."""


class MutualTaughtError(Exception):
    """Base of every error that a command prints as one line instead of a traceback."""


class InputError(MutualTaughtError, ValueError):
    """A value, row or file of the user's is not what was expected."""


class RefusedError(InputError):
    """A chat template refuses a conversation."""


class MissingFileError(MutualTaughtError, FileNotFoundError):
    """A file or folder that should have been there is not."""

    def __str__(self) -> str:
        """Give only the message, without the errno of the standard error."""
        return str(self.args[0])


class EndpointError(MutualTaughtError, RuntimeError):
    """A server that was asked gives no answer that can be used."""


class TrainingError(MutualTaughtError, RuntimeError):
    """A training run went wrong in a way that must not be continued past."""


class ShortageError(MutualTaughtError, RuntimeError):
    """The machine has no more memory, processes or files to give: see `terminal.shortage`."""


def first_line(error: BaseException) -> str:
    """Give an error of another library in one line: its kind, and the first line if it says any."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
