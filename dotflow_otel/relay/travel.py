"""Lets steps travel to a worker that hold a tracer.

Scripts usually keep `tracer = trace.get_tracer(__name__)` at module level, and a step that
uses it travels with it. A tracer holds locks and processors and does not pickle; what
matters of it is its name. So it is looked up anew where it arrives.
"""

from __future__ import annotations

import copyreg
import sys
from functools import cache
from typing import Any

from opentelemetry import trace


@cache
def let_tracers_travel() -> None:
    """Register, once in a process, how tracers and their providers pickle."""
    _register(trace.ProxyTracer, _reduced_proxy)
    _register(trace.NoOpTracer, lambda _: (trace.NoOpTracer, ()))
    _register(trace.ProxyTracerProvider, _reduced_provider)
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is not None:
        _register(sdk.Tracer, _reduced_tracer)
        _register(sdk.TracerProvider, _reduced_provider)


def _register(kind: Any, reduce: Any) -> None:
    # Not where somebody else has said how.
    copyreg.dispatch_table.setdefault(kind, reduce)


def _reduced_proxy(tracer: Any) -> tuple[Any, ...]:
    # These have no public names; without them the tracer is one without a name.
    fields = ("_instrumenting_module_name", "_instrumenting_library_version", "_schema_url")
    name, *others = (getattr(tracer, field, None) for field in fields)
    return _tracer_again, (name or "", *others)


def _reduced_tracer(tracer: Any) -> tuple[Any, ...]:
    # Here, because the API alone can be installed.
    from dotflow_otel.spans.sdk_tracer import instrumentation_of  # noqa: PLC0415

    scope = instrumentation_of(tracer)
    if scope is None:
        return _tracer_again, ("", None, None)
    return _tracer_again, (scope.name, scope.version, scope.schema_url)


def _reduced_provider(_provider: Any) -> tuple[Any, ...]:
    return trace.get_tracer_provider, ()


def _tracer_again(name: str, version: str | None, schema_url: str | None) -> trace.Tracer:
    return trace.get_tracer(name, version, schema_url=schema_url)
