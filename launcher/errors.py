"""What can go wrong between `make up` and a running Studio, told to the person at the terminal."""


class LauncherError(Exception):
    """Something the person at the terminal can act on. Its text is printed as it is, without a traceback."""


class NotReady(Exception):
    """A program does not answer yet. The text is the reason, shown when the wait runs out."""


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived: stop everything that was started."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number
