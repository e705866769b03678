"""The errors that metrics raise, and the checks of the options that all their backends share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isnan
from numbers import Real
from typing import TYPE_CHECKING

from dotflow.core.arguments import check_method
from dotflow.core.exception import DotflowError, InvalidOption

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class CannotListen(DotflowError, OSError):
    """Metrics cannot be served at an address.

    Attributes:
        errno: As the system's own error has it.
    """

    def __init__(self, addr: str = "", port: int = 0, reason: OSError | None = None) -> None:
        super().__init__(
            f"Metrics cannot be served on {addr!r}, port {port}: {_reason_text(reason)}. Give an "
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


def _reason_text(reason: OSError | None) -> str:
    return "" if reason is None else reason.strerror or str(reason)


def check_buckets(buckets: Sequence[float]) -> None:
    """Check the upper bounds of histograms.

    Raises:
        InvalidOption: They are no sequence of numbers, there are none, or they do not rise.
    """
    # Of other types some are empty at the second reading, some in no order.
    numbers = _is_listing(buckets) and all(map(_is_number, buckets))
    if not numbers or not buckets or not all(low < high for low, high in pairwise(buckets)):
        raise InvalidOption("buckets", buckets, "give upper bounds in seconds, each above the last")


def check_registry(registry: CollectorRegistry | None, method: str) -> None:
    """Check a registry of prometheus-client, or None.

    Raises:
        InvalidOption: It has not the method that is needed of it.
    """
    if registry is not None:
        hint = "give a registry of prometheus-client, as CollectorRegistry(), or None for its own"
        check_method("registry", registry, method, hint)


def _is_listing(buckets: object) -> bool:
    return isinstance(buckets, Sequence) and not isinstance(buckets, (str, bytes, bytearray))


def _is_number(bound: object) -> bool:
    return isinstance(bound, Real) and not isinstance(bound, bool) and not isnan(bound)
