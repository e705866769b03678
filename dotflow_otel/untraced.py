"""Keeps what dotflow itself sends out of the traces: its URLs may hold a token."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Instrumentations of HTTP clients look for these: the one in the API, by a name that is private
# there, and the plain text, which older ones ask for.
_KEYS: Final = ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
_PLAIN: Final = "suppress_instrumentation"


@contextmanager
def untraced() -> Iterator[None]:
    """Return what suppresses instrumentations within; the entry point of `dotflow.deliveries`."""
    # Where nobody has imported the API, nobody makes a span.
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        yield
        return
    within = context.set_value(_PLAIN, True)
    for name in _KEYS:
        key = getattr(context, name, None)
        within = within if key is None else context.set_value(key, True, within)
    token = context.attach(within)
    try:
        yield
    finally:
        context.detach(token)
