"""The trace that a job was started in, by its environment.

It is no part of the set-up, so that importing the tracer imports the API alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import baggage
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import get_current_span, set_span_in_context

if TYPE_CHECKING:
    from collections.abc import Mapping

_logger: Final = logging.getLogger("dotflow_otel")

_TRACEPARENT: Final = "TRACEPARENT"

_inherited: Context | None = None


def inherit(environment: Mapping[str, str]) -> None:
    """Keep what the environment says of the trace that this process was started in.

    The propagators that `OTEL_PROPAGATORS` names read it: those of W3C, by default, the
    variables `TRACEPARENT`, `TRACESTATE` and `BAGGAGE`.
    """
    global _inherited  # noqa: PLW0603 - as global as the environment
    try:
        _inherited = _found_in(environment)
    except Exception:
        _logger.warning("OTEL_PROPAGATORS names what cannot be used", exc_info=True)


def _found_in(environment: Mapping[str, str]) -> Context | None:
    # Older APIs take the name for that of a propagator.
    if "none" in environment.get("OTEL_PROPAGATORS", "").lower().split(","):
        return None
    # Here, because it raises at its import where `OTEL_PROPAGATORS` is wrong.
    from opentelemetry.propagate import extract, get_global_textmap  # noqa: PLC0415

    found = extract(environment, Context(), _VARIABLES)
    has_span = get_current_span(found).get_span_context().is_valid
    reads = "traceparent" in get_global_textmap().fields
    if environment.get(_TRACEPARENT) and reads and not has_span:
        _logger.warning(
            "%s=%r is not valid: runs begin traces of their own",
            _TRACEPARENT,
            environment[_TRACEPARENT],
        )
    return found or None


def parent_context() -> Context:
    """Return the context that a run belongs to: the current one, or else the inherited one."""
    current = get_current()
    if _inherited is None or get_current_span(current).get_span_context().is_valid:
        return current
    joined = set_span_in_context(get_current_span(_inherited), current)
    own = baggage.get_all(current)
    for name, value in baggage.get_all(_inherited).items():
        if name not in own:
            joined = baggage.set_baggage(name, value, joined)
    return joined


class _Variables(Getter["Mapping[str, str]"]):
    """Reads headers from the variables of their names: `traceparent` from `TRACEPARENT`."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.upper().replace("-", "_"))
        return [value] if value else None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return [name.lower().replace("_", "-") for name in carrier]


_VARIABLES: Final = _Variables()
