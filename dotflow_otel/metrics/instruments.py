"""What a backend of metrics offers: series to count and measure with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dotflow_otel.conventions import Metric


class Add(Protocol):
    """Adds to one series of a counter, with the exemplar's labels if there is one."""

    def __call__(self, amount: float, exemplar: dict[str, str] | None = None, /) -> None:
        """Add an amount."""


class Observe(Protocol):
    """Puts a value into one series of a histogram, likewise."""

    def __call__(self, value: float, exemplar: dict[str, str] | None = None, /) -> None:
        """Put a value in."""


class GaugeSeries(Protocol):
    """One series of a gauge."""

    def inc(self, amount: float = 1, /) -> None:
        """Raise the value."""

    def dec(self, amount: float = 1, /) -> None:
        """Lower the value."""

    def set(self, value: float, /) -> None:
        """Replace the value."""


class Instruments(Protocol):
    """The instruments of the table in `conventions`, in one backend.

    A series is asked for once and kept. Values are given in the order of the metric's labels.
    """

    def counter(self, metric: Metric, *values: str) -> Add:
        """Give a series of a counter."""
        ...

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        """Give a series of a gauge."""
        ...

    def histogram(self, metric: Metric, *values: str) -> Observe:
        """Give a series of a histogram."""
        ...
