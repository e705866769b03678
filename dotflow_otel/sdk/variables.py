"""The standard OTEL_* variables whose values can be wrong."""

from __future__ import annotations

import logging
import math
import os
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger: Final = logging.getLogger("dotflow_otel")


class _Rule(NamedTuple):
    """What a variable's value has to be.

    Attributes:
        holds: Tells whether a text is valid.
        hint: What a valid one is.
    """

    holds: Callable[[str], bool]
    hint: str


def _is_whole(text: str, least: int) -> bool:
    try:
        return int(text) >= least
    except ValueError:
        return False


def _is_duration(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _is_ratio_where_asked(text: str) -> bool:
    if "ratio" not in os.environ.get("OTEL_TRACES_SAMPLER", ""):
        return True
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


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
        return url.scheme in ("http", "https") and bool(url.netloc)

    return _Rule(holds, "a URL, such as http://localhost:4318")


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
}


@contextmanager
def valid_variables() -> Iterator[None]:
    """Hide the variables whose values are wrong, each with a warning, and show them again.

    For one of them the SDK cannot be imported, for another no provider or exporter be made;
    for want of it the default counts.
    """
    hidden = {name: os.environ.pop(name) for name in _wrong()}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _wrong() -> list[str]:
    wrong = []
    for name, rule in _RULES.items():
        text = os.environ.get(name, "").strip()
        if text and not rule.holds(text):
            wrong.append(name)
            _logger.warning(
                "%s=%r is not valid, so its default counts: give %s", name, text, rule.hint
            )
    return wrong


def setting(name: str, default: int) -> int:
    """Give the whole number that a variable holds, or the default."""
    return int(os.environ.get(name, "").strip() or default)
