"""The errors that are raised where metrics are read and pushed."""

from __future__ import annotations

from dotflow.core.exception import DotflowError


class CannotListen(DotflowError, OSError):
    """Metrics cannot be served at an address.

    Attributes:
        errno: As the system's own error has it.
    """

    def __init__(self, addr: str = "", port: int = 0, reason: OSError | None = None) -> None:
        super().__init__(
            f"Metrics cannot be served on {addr!r}, port {port}: {_told(reason)}. Give an "
            "address of this machine and a port that no other program listens on; port 0 "
            "takes any that is free."
        )
        self.errno = None if reason is None else reason.errno


class PushFailed(DotflowError, OSError):
    """Metrics did not arrive at a Pushgateway."""

    def __init__(self, gateway: str = "", job: str = "", reason: object = None) -> None:
        super().__init__(
            f"The metrics of job {job!r} could not be pushed to {gateway!r}: {reason}. See that "
            "a Pushgateway listens there ('host:9091' or a URL) and that it can be reached "
            "from here."
        )


def _told(reason: OSError | None) -> str:
    return "" if reason is None else reason.strerror or str(reason)
