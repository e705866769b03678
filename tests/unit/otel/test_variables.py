"""Which values of the standard variables are wrong."""

from __future__ import annotations

import os

import pytest
from own_records import own_records

from dotflow_otel.sdk.variables import setting, valid_variables


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", ("1", " 2048 ", ""), ("0", "-1", "1.5", "many")),
        ("OTEL_BLRP_SCHEDULE_DELAY", ("1", "1000"), ("0", "soon")),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", ("0", "128", ""), ("-1", "x")),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", ("0", ""), ("-1",)),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", ("10", "0.5"), ("0", "-1", "nan", "inf", "soon")),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", ("10",), ("x",)),
        ("OTEL_METRIC_EXPORT_INTERVAL", ("60000",), ("0", "x")),
        ("OTEL_TRACES_EXPORTER", ("otlp", "Console, otlp", "none"), ("jaeger", "otlp,x")),
        ("OTEL_LOGS_EXPORTER", ("console",), ("x",)),
        ("OTEL_METRICS_EXPORTER", ("prometheus", "otlp"), ("prom",)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", ("grpc", "http/protobuf"), ("http", "http/json")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ("http://x:1", "https://x"), ("localhost:4318", "http:/x")),
        ("OTEL_TRACES_SAMPLER", ("always_on", "PARENTBASED_TRACEIDRATIO"), ("sometimes",)),
        ("OTEL_PROPAGATORS", ("baggage", "tracecontext, baggage", "none"), ("pigeon", "baggage,x")),
    ],
)
def test_values(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    right: tuple[str, ...],
    wrong: tuple[str, ...],
) -> None:
    """A wrong value is hidden for a while, with one warning; a right one stays, silently."""
    for text in right:
        monkeypatch.setenv(name, text)
        with valid_variables():
            assert os.environ[name] == text
    # Not what an exporter of another test still says.
    ours = own_records(caplog)
    assert ours == []
    for text in wrong:
        monkeypatch.setenv(name, text)
        with valid_variables():
            assert name not in os.environ
        assert os.environ[name] == text
    ours = own_records(caplog)
    told = [record.getMessage().partition(" is not valid")[0] for record in ours]
    assert told == [f"{name}={text!r}" for text in wrong]


@pytest.mark.parametrize(
    ("sampler", "ratio", "hidden"),
    [
        ("traceidratio", "2", True),
        ("parentbased_traceidratio", "x", True),
        ("traceidratio", "0.5", False),
        ("always_on", "what an own sampler takes", False),
    ],
)
def test_ratio(monkeypatch: pytest.MonkeyPatch, sampler: str, ratio: str, *, hidden: bool) -> None:
    """The argument of a sampler of ratios is a ratio; that of another is its own matter."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    with valid_variables():
        assert ("OTEL_TRACES_SAMPLER_ARG" not in os.environ) is hidden


def test_they_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was hidden is shown again where the set-up raised."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "x")
    with pytest.raises(KeyError), valid_variables():
        raise KeyError
    assert os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] == "x"


def test_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting is its number, or the default where the variable is empty or not set."""
    assert setting("OTEL_BSP_MAX_QUEUE_SIZE", 7) == 7
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", " ")
    assert setting("OTEL_BSP_MAX_QUEUE_SIZE", 7) == 7
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "9")
    assert setting("OTEL_BSP_MAX_QUEUE_SIZE", 7) == 9
