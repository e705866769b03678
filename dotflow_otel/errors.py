"""The errors of `dotflow_otel`, below the root of dotflow's."""

from __future__ import annotations

from dotflow.core.exception import DotflowError


class CannotServe(DotflowError, OSError):
    """Metrics cannot be served where it was asked for. Also an `OSError`, with its `errno`."""

    def __init__(self, addr: str, port: int, error: Exception, remedy: str) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        super().__init__(f"Metrics cannot be served at {addr}, port {port}: {reason}. {remedy}")
        self.errno = getattr(error, "errno", None)


class PushFailed(DotflowError):
    """Metrics did not reach the Pushgateway."""

    def __init__(self, gateway: str, reason: str, remedy: str) -> None:
        super().__init__(f"Metrics were not pushed to {gateway}: {reason}. {remedy}")
