"""Who started this process: the parent of its runs, where no span is current."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import get_current_span

_logger: Final = logging.getLogger("dotflow_otel")


class _Variables(Getter[Mapping[str, str]]):
    """Finds `traceparent` as `TRACEPARENT`, and so the fields of any other propagator."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.upper().replace("-", "_"))
        return [value] if value else None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


_variables: Final = _Variables()
_carrier: dict[str, str] = {}


def read_caller() -> None:
    """Read from the environment which span started this process.

    A traced program that starts a job hands `TRACEPARENT`, `TRACESTATE` and `BAGGAGE` on, or
    what the propagators of `OTEL_PROPAGATORS` use. Called by `setup`.
    """
    _carrier.clear()
    try:
        # Here, because the import fails where OTEL_PROPAGATORS names what is not installed.
        from opentelemetry.propagate import get_global_textmap  # noqa: PLC0415

        fields = get_global_textmap().fields
    except Exception:
        _logger.warning("OTEL_PROPAGATORS cannot be followed", exc_info=True)
        return
    names = {field.upper().replace("-", "_") for field in fields}
    _carrier.update({name: os.environ[name] for name in names if os.environ.get(name)})


def calling_context() -> Context:
    """Give the current context; without a span in it, with that which started this process."""
    context = get_current()
    if not _carrier or get_current_span(context).get_span_context().is_valid:
        return context
    from opentelemetry.propagate import extract  # noqa: PLC0415 - `read_caller` imported it

    return extract(_carrier, context, _variables)
