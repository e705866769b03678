"""Tracers in steps that travel: looked up anew where they arrive."""

from __future__ import annotations

import pickle

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from dotflow_otel.spans.factory import let_tracers_travel

let_tracers_travel()


def test_a_tracer_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that nobody has configured comes back as one of the same name."""
    # Another test of this process may have set a provider.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    tracer = trace.ProxyTracerProvider().get_tracer("lib", "1.2", "https://example.org/schema")
    again = pickle.loads(pickle.dumps(tracer))
    assert isinstance(again, trace.ProxyTracer)
    assert vars(again)["_instrumenting_module_name"] == "lib"
    assert vars(again)["_instrumenting_library_version"] == "1.2"
    assert vars(again)["_schema_url"] == "https://example.org/schema"


def test_a_tracer_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer of the SDK comes back as the global provider's of the same scope."""
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("lib", "1.2", "https://example.org/schema")
    elsewhere = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: elsewhere)
    again = pickle.loads(pickle.dumps(tracer))
    assert again is not tracer
    # Older SDKs make another one at each look-up.
    expected = elsewhere.get_tracer("lib", "1.2", "https://example.org/schema")
    assert again.span_processor is expected.span_processor
    scopes = [each.start_span("s").instrumentation_scope for each in (again, expected)]
    assert scopes[0] == scopes[1]
    assert scopes[0].name == "lib"


@pytest.mark.parametrize("provider", [TracerProvider(shutdown_on_exit=False)])
def test_a_provider(provider: TracerProvider) -> None:
    """A provider comes back as the global one of where it arrives."""
    assert pickle.loads(pickle.dumps(provider)) is trace.get_tracer_provider()


def test_no_op_tracer() -> None:
    """A tracer that does nothing still does nothing."""
    again = pickle.loads(pickle.dumps(trace.NoOpTracer()))
    assert isinstance(again, trace.NoOpTracer)
