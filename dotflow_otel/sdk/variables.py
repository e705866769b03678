"""The standard OTEL_* variables: whose values can be wrong, and the exporters that they name."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_PROTOCOL

from dotflow_otel import _process as process
from dotflow_otel.hidden_variables import hidden_variables, is_hidden
from dotflow_otel.plain import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace.export import SpanExporter


_logger: Final = logging.getLogger("dotflow_otel")

# What more than that is no thread can wait for, nor a queue hold.
_MOST: Final = 2**31 - 1


class _Rule(NamedTuple):
    """What a variable's value has to be.

    Attributes:
        holds: Returns whether a text is valid.
        hint: What a valid one is.
    """

    holds: Callable[[str], bool]
    hint: str


def _is_whole(text: str, least: int) -> bool:
    return least <= int(text) <= _MOST


def _is_duration(text: str) -> bool:
    return 0 < float(text) <= _MOST


def _is_ratio_where_asked(text: str) -> bool:
    if "ratio" not in os.environ.get("OTEL_TRACES_SAMPLER", ""):
        return True
    return 0 <= float(text) <= 1


def _are_installed(group: str, text: str) -> bool:
    names = (name.strip() for name in text.split(","))
    return all(name == "none" or any(entry_points(group=group, name=name)) for name in names)


_COUNT: Final = _Rule(lambda text: _is_whole(text, 1), "a whole number, 1 or more")
_LIMIT: Final = _Rule(lambda text: _is_whole(text, 0), "a whole number, 0 or more, or nothing")
_DURATION: Final = _Rule(_is_duration, "a number above 0")
_RATIO: Final = _Rule(_is_ratio_where_asked, "a number from 0 to 1")
_SAMPLER: Final = _Rule(
    lambda text: any(entry_points(group="opentelemetry_traces_sampler", name=text.lower())),
    "a sampler that is installed, such as parentbased_traceidratio",
)
_PROPAGATORS: Final = _Rule(
    lambda text: _are_installed("opentelemetry_propagator", text),
    "propagators that are installed, separated by commas, such as tracecontext,baggage",
)
_SIGNALS: Final = ("", "TRACES_", "LOGS_", "METRICS_")
_PROTOCOLS: Final = ("http/protobuf", "grpc")
_PROTOCOL: Final = _Rule(lambda text: text in _PROTOCOLS, " or ".join(_PROTOCOLS))


def _exporters(signal: str, *known: str) -> _Rule:
    def holds(text: str) -> bool:
        names = {name.strip().lower() for name in text.split(",")}
        unknown = ",".join(names - {"otlp", *known})
        return _are_installed(f"opentelemetry_{signal}_exporter", unknown) if unknown else True

    return _Rule(holds, "exporters that are installed, separated by commas, such as otlp,console")


def _endpoint(signal: str) -> _Rule:
    def holds(text: str) -> bool:
        names = (f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        if "grpc" in [os.environ.get(name, "").strip() for name in names]:
            return True  # which takes a host and port as well
        url = urlsplit(text)
        # To ask for the port raises where it is none.
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0

    return _Rule(holds, "a URL, such as http://localhost:4318")


def _one_of(*allowed: str) -> _Rule:
    return _Rule(lambda text: text.lower() in allowed, f"one of {', '.join(allowed)}")


def _provider(kind: str) -> _Rule:
    return _Rule(
        lambda text: any(entry_points(group=f"opentelemetry_{kind}_provider", name=text)),
        f"a provider of {kind}s that is installed",
    )


_FILTER: Final = _one_of("trace_based", "always_on", "always_off")
_COMPRESSION: Final = _one_of("gzip", "deflate", "none")
_PROVIDERS: Final = ("tracer", "meter", "logger")
_BATCHING: Final = ("SCHEDULE_DELAY", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "EXPORT_TIMEOUT")

_RULES: Final = {
    **{f"OTEL_{kind}_{name}": _COUNT for kind in ("BSP", "BLRP") for name in _BATCHING},
    **{
        f"OTEL_{kind}ATTRIBUTE_{name}_LIMIT": _LIMIT
        for kind in ("", "SPAN_", "LOGRECORD_")
        for name in ("COUNT", "VALUE_LENGTH")
    },
    "OTEL_SPAN_EVENT_COUNT_LIMIT": _LIMIT,
    "OTEL_SPAN_LINK_COUNT_LIMIT": _LIMIT,
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    **{f"OTEL_EXPORTER_OTLP_{signal}TIMEOUT": _DURATION for signal in _SIGNALS},
    **{f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL": _PROTOCOL for signal in _SIGNALS},
    **{f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT": _endpoint(signal) for signal in _SIGNALS},
    "OTEL_TRACES_EXPORTER": _exporters("traces"),
    "OTEL_LOGS_EXPORTER": _exporters("logs"),
    "OTEL_METRICS_EXPORTER": _exporters("metrics", "prometheus"),
    "OTEL_METRIC_EXPORT_INTERVAL": _DURATION,
    "OTEL_METRIC_EXPORT_TIMEOUT": _DURATION,
    "OTEL_TRACES_SAMPLER": _SAMPLER,
    "OTEL_TRACES_SAMPLER_ARG": _RATIO,
    "OTEL_PROPAGATORS": _PROPAGATORS,
    "OTEL_METRICS_EXEMPLAR_FILTER": _FILTER,
    **{f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION": _COMPRESSION for signal in _SIGNALS},
    **{f"OTEL_PYTHON_{kind.upper()}_PROVIDER": _provider(kind) for kind in _PROVIDERS},
}


@contextmanager
def valid_variables(*, warns: bool = True) -> Iterator[None]:
    """Hide the variables whose values are wrong from the SDK, each with a warning.

    For one of them the SDK cannot be imported, for another no provider or exporter be made; for
    want of it the default counts.

    Args:
        warns: Whether each is warned of, which once is enough for.
    """
    with hidden_variables(_wrong(warns=warns)):
        yield


def _wrong(*, warns: bool) -> list[str]:
    wrong = []
    for name, rule in _RULES.items():
        text = os.environ.get(name, "").strip()
        if text and not _holds(rule, text):
            wrong.append(name)
            if not warns:
                continue
            _logger.warning(
                "%s=%r is not valid, so its default counts: give %s",
                name,
                shown_address(text) if name.endswith("ENDPOINT") else text,
                rule.hint,
            )
    return wrong


def _holds(rule: _Rule, text: str) -> bool:
    try:
        return rule.holds(text)
    except Exception:  # noqa: BLE001 - whatever cannot be read is wrong
        return False


def variable(name: str) -> str:
    """Return what a variable holds; nothing while `valid_variables` has it not seen."""
    return "" if is_hidden(name) else os.environ.get(name, "").strip()


def setting(name: str, default: int) -> int:
    """Return the whole number that a variable holds, or the default."""
    return int(variable(name) or default)


_OTLP: Final = "otlp"
_NONE: Final = "none"
_PROMETHEUS: Final = "prometheus"
_BY_PROTOCOL: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_OTLP_HTTP: Final = "opentelemetry.exporter.otlp.proto.http."
_CREDENTIALS: Final = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_%sCREDENTIAL_PROVIDER"
_DEFAULT_PROTOCOL: Final = "http/protobuf"

# Where OTLP goes unless set otherwise.
DEFAULT_COLLECTOR: Final = ("localhost", 4318)
_PROBE_SECONDS: Final = 0.25


class Signal(NamedTuple):
    """One kind of telemetry.

    Attributes:
        name: As the variables and the groups of entry points have it.
        items: What is exported.
    """

    name: str
    items: str

    @property
    def variable(self) -> str:
        """The name of the variable that names the exporters."""
        return f"OTEL_{self.name.upper()}_EXPORTER"

    def named(self) -> list[str]:
        """Return the exporters that the variable names, `none` and `prometheus` among them."""
        names = (name.strip().lower() for name in variable(self.variable).split(","))
        return [name for name in names if name]

    def exporters(self, names: list[str]) -> Iterator[Any]:
        """Make exporters; one that cannot be made is left out, with a warning."""
        for name in names:
            try:
                yield self._made(name)
            except Exception:
                _logger.warning(
                    "%s are not exported to %r, which OTEL_* variables ask for",
                    self.items,
                    name,
                    exc_info=True,
                )

    def _made(self, name: str) -> Any:
        entry_name = self._otlp_name() if name == _OTLP else name
        for entry in entry_points(group=f"opentelemetry_{self.name}_exporter", name=entry_name):
            return _made_by(entry.load(), self.name)
        raise LookupError(
            f"no exporter of {self.items} is installed under the name {entry_name!r}: "
            f"correct {self.variable}, or install one"
        )

    def _otlp_name(self) -> str:
        protocol = (
            variable(f"OTEL_EXPORTER_OTLP_{self.name.upper()}_PROTOCOL")
            or variable(OTEL_EXPORTER_OTLP_PROTOCOL)
            or _DEFAULT_PROTOCOL
        )
        if protocol not in _BY_PROTOCOL:
            raise LookupError(
                f"OTLP over {protocol!r} is not available: use one of {', '.join(_BY_PROTOCOL)}"
            )
        return _BY_PROTOCOL[protocol]


def _made_by(kind: Any, signal: str) -> Any:
    # An application that names a provider of credentials has its session from that.
    is_http = str(getattr(kind, "__module__", "")).startswith(_OTLP_HTTP)
    if not is_http or any(variable(_CREDENTIALS % each) for each in ("", f"{signal.upper()}_")):
        return kind()
    from dotflow_otel.sdk.otlp_session import OtlpSession  # noqa: PLC0415 - for this exporter only

    return kind(session=OtlpSession(signal))


TRACES: Final = Signal(process.TRACES, "spans")
METRICS: Final = Signal(process.METRICS, "metrics")
LOGS: Final = Signal(process.LOGS, "log records")


def span_exporters() -> Iterator[SpanExporter]:
    """Return the exporters of spans that the environment asks for.

    `OTEL_TRACES_EXPORTER` names them (`otlp`, `console`, `none`, or any that is installed),
    separated by commas. Without it there is the one for OTLP if any `OTEL_EXPORTER_OTLP_*`
    variable is set that is not for another signal, or if a collector listens on this machine
    where OTLP goes by default. Each reads its own variables. One that cannot be made is left
    out, with a warning.
    """
    named = TRACES.named()
    if not named and (_otlp_is_configured() or _collector_listens_here()):
        named = [_OTLP]
    return TRACES.exporters([name for name in named if name != _NONE])


def log_exporter_names(*, wanted: bool | None = None) -> list[str]:
    """Return which exporters of log records `OTEL_LOGS_EXPORTER` names; without it none.

    Args:
        wanted: False: none in any case; True: the one for OTLP where none is named.
    """
    named = [] if wanted is False else LOGS.named()
    if not named and wanted:
        named = [_OTLP]
    return [name for name in named if name != _NONE]


def metric_exporter_names() -> list[str]:
    """Return which exporters of metrics `OTEL_METRICS_EXPORTER` names; without it none.

    `prometheus` needs none: Prometheus comes for its metrics.
    """
    return [name for name in METRICS.named() if name not in {_NONE, _PROMETHEUS}]


def _otlp_is_configured() -> bool:
    others = tuple(f"OTEL_EXPORTER_OTLP_{each.name.upper()}_" for each in (METRICS, LOGS))
    return any(
        name.startswith("OTEL_EXPORTER_OTLP_") and not name.startswith(others) and variable(name)
        for name in os.environ
    )


def _collector_listens_here() -> bool:
    try:
        with socket.create_connection(DEFAULT_COLLECTOR, _PROBE_SECONDS):
            return True
    except OSError:
        _logger.info(
            "spans are not exported: no collector listens on %s:%d, and none is named by "
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            *DEFAULT_COLLECTOR,
        )
        return False
