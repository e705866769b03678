"""A tracer provider that is not the SDK's but wraps it, as those of vendors do."""

from __future__ import annotations

from typing import Any


class WrappingProvider:
    """The provider.

    Args:
        inner: The SDK's.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        """Return a tracer that is not the SDK's."""
        return WrappingTracer(self.inner.get_tracer(*args, **kwargs))


class WrappingTracer:
    """Its tracer."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def start_span(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a span."""
        return self.inner.start_span(*args, **kwargs)
