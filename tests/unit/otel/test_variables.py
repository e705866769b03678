"""Which values of the standard variables are wrong."""

from __future__ import annotations

import os
import sys

import pytest
from log_records import own_records
from opentelemetry import environment_variables
from opentelemetry.sdk import environment_variables as sdk

from dotflow import DotFlow, action
from dotflow_otel import record_telemetry
from dotflow_otel.hidden_variables import hidden_variables, is_hidden
from dotflow_otel.metrics.relay import has_meters
from dotflow_otel.sdk.variables import setting, valid_variables, variable


@action
def step() -> None:
    """Succeed."""


def seen(name: str) -> str | None:
    """Return what the SDK finds, which looks a variable up by a constant."""
    for module in (environment_variables, sdk):
        if hasattr(module, name):
            return os.environ.get(getattr(module, name))
    return os.environ.get(name)


@pytest.fixture(scope="module")
def changes() -> list[str]:
    """Return what is called of the environment from now on: a hook of that stays for ever."""
    told: list[str] = []

    def hear(event: str, _: object) -> None:
        if event in {"os.putenv", "os.unsetenv"}:
            told.append(event)

    sys.addaudithook(hear)
    return told


def test_the_environment_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, changes: list[str]
) -> None:
    """Telemetry is set up around wrong values without a change that threads or children see."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "no_such_provider")
    monkeypatch.setenv("OTEL_PYTHON_METER_PROVIDER", "no_such_provider")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    changes.clear()
    with record_telemetry(global_tracer=False) as recorded, valid_variables(warns=False):
        flow = DotFlow(config=recorded.config, name="w")
        flow.task.add(step)
        flow.start()
    assert [span.name for span in recorded.spans] == ["workflow w", "task step"]
    assert has_meters() is has_meters()
    assert changes == []
    assert os.environ.pop("OTEL_SDK_DISABLED") == "true"
    assert changes == ["os.unsetenv"]


def test_hidden_by_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is seen again when the last one that hides it has done."""
    name = "OTEL_SDK_DISABLED"
    monkeypatch.setenv(name, "true")
    first, second = hidden_variables((name,)), hidden_variables((name,))
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        assert (seen(name), is_hidden(name)) == (None, True)
    assert (seen(name), is_hidden(name)) == ("true", False)


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
        ("OTEL_METRICS_EXEMPLAR_FILTER", ("always_off",), ("never",)),
        ("OTEL_PYTHON_METER_PROVIDER", ("sdk_meter_provider",), ("x",)),
        ("OTEL_METRIC_EXPORT_TIMEOUT", ("30000",), ("1e300",)),
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
    """The SDK does not see a wrong value for a while, with one warning; a right one it does."""
    for text in right:
        monkeypatch.setenv(name, text)
        with valid_variables():
            assert seen(name) == text
            assert variable(name) == text.strip()
    # Not what an exporter of another test still says.
    ours = own_records(caplog)
    assert ours == []
    for text in wrong:
        monkeypatch.setenv(name, text)
        before = dict(os.environ)
        with valid_variables():
            assert seen(name) is None
            assert variable(name) == ""
            assert dict(os.environ) == before
        assert seen(name) == text
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
        assert (seen("OTEL_TRACES_SAMPLER_ARG") is None) is hidden


def test_they_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK sees it again where the set-up raised."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "x")
    with pytest.raises(KeyError), valid_variables():
        raise KeyError
    assert seen("OTEL_BSP_MAX_QUEUE_SIZE") == "x"


def test_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting is its number, or the default where the variable is empty or not set."""
    assert setting("OTEL_BSP_MAX_QUEUE_SIZE", 7) == 7
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", " ")
    assert setting("OTEL_BSP_MAX_QUEUE_SIZE", 7) == 7
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "9")
    assert setting("OTEL_BSP_MAX_QUEUE_SIZE", 7) == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("htp://me:s3cret@collector:4318/v1?key=s3cret", "htp://...@collector:4318"),
        ("http://collector:port/s3cret-and-longer", "http://collector:port"),
        ("collector?token=s3cret", "collector"),
        ("me:s3cret@collector", "...@collector"),
        ("http://[::1/s3cret", "http://[::1"),
    ],
)
def test_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str, told: str
) -> None:
    """Of an address that is wrong, a message shows no more than where it leads."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text)
    with valid_variables():
        pass
    (record,) = own_records(caplog)
    assert record.getMessage().partition(" is not valid")[0].partition("=")[2] == repr(told)
    assert "s3cret" not in caplog.text
