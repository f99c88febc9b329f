"""What goes wrong on the command line, and the status the process ends with."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses; scripts rely on them. 2 is also what argparse ends with."""

    DONE = 0
    FAILED = 1
    """The execution or the gateway failed, or what answered is no gateway."""
    USAGE = 2
    """The command line, the address or a file is not as it must be."""
    KEY = 3
    """There is no key, or it is not good."""
    REFUSED = 4
    """Not in the key's scope, stopped, or not there."""
    INPUT = 5
    """The inputs do not fit."""
    LIMIT = 6
    """A limit or the budget of the key is reached."""
    UNAVAILABLE = 7
    """The gateway cannot be reached, is full, or is about to stop: try again."""
    TIMED_OUT = 8
    """The time limit of the release passed."""
    INTERRUPTED = 130
    """Ctrl-C. The execution was cancelled with it."""


_BY_STATUS = {
    400: Exit.INPUT,
    401: Exit.KEY,
    402: Exit.LIMIT,
    403: Exit.REFUSED,
    404: Exit.REFUSED,
    413: Exit.INPUT,
    422: Exit.INPUT,
    429: Exit.LIMIT,
    503: Exit.UNAVAILABLE,
    504: Exit.TIMED_OUT,
}


class CliError(Exception):
    """What went wrong, for the person at the terminal."""

    def __init__(self, message: str, status: Exit) -> None:
        super().__init__(message)
        self.status = status

    @classmethod
    def of_answer(cls, http_status: int, body: object, retry_after: str | None = None) -> CliError:
        """The error that a gateway answered with."""
        detail = body.get("error") if isinstance(body, dict) else None
        if not isinstance(detail, dict) or not isinstance(detail.get("message"), str):
            return cls(f"the address answered with HTTP status {http_status}, and not as a gateway does", Exit.FAILED)
        message = detail["message"]
        if retry_after:
            message += f"; try again in {retry_after} s"
        if detail.get("execution_id"):
            message += f" (execution {detail['execution_id']})"
        return cls(message, _BY_STATUS.get(http_status, Exit.FAILED))
