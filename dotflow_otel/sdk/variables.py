"""The standard OTEL_* variables whose values can be wrong."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from dotflow.core.locks import fork_safe_lock
from dotflow_otel.plain import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger: Final = logging.getLogger("dotflow_otel")

# Where the SDK's modules take the constants from.
_NAMES: Final = ("opentelemetry.environment_variables", "opentelemetry.sdk.environment_variables")
_NOT_VALID: Final = "__NOT_VALID"
_looking_up: Final = fork_safe_lock()

# Those that count as not set at this moment.
_unseen: Final[set[str]] = set()

# What more than that is no thread can wait for, nor a queue hold.
_MOST: Final = 2**31 - 1


class _Rule(NamedTuple):
    """What a variable's value has to be.

    Attributes:
        holds: Tells whether a text is valid.
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
    """Have the SDK not see the variables whose values are wrong, each with a warning.

    For one of them the SDK cannot be imported, for another no provider or exporter be made; for
    want of it the default counts. `os.environ` is the whole process's, and stays as it is: the
    SDK's modules look a variable up by a constant with its name, and that has another name
    meanwhile. In a module that is first imported meanwhile as well, for which the constants are
    made first, and set back last.

    Args:
        warns: Whether each is warned of, which once is enough for.
    """
    wrong = _wrong(warns=warns)
    if not wrong:
        yield
        return
    for name in _NAMES:
        import_module(name)
    with _looking_up:
        _unseen.update(wrong)
        for name in wrong:
            _rename(name, f"{name}{_NOT_VALID}")
        try:
            yield
        finally:
            _unseen.difference_update(wrong)
            for name in wrong:
                _rename(f"{name}{_NOT_VALID}", name)


def _rename(name: str, other: str) -> None:
    # Modules may be imported by other threads meanwhile.
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("opentelemetry"):
            constants = vars(module)
            for constant in [key for key in _named(name) if constants.get(key) == name]:
                constants[constant] = other


def _named(name: str) -> tuple[str, str]:
    name = name.removesuffix(_NOT_VALID)
    return name, f"_{name}"


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
    return "" if name in _unseen else os.environ.get(name, "").strip()


def setting(name: str, default: int) -> int:
    """Return the whole number that a variable holds, or the default."""
    return int(variable(name) or default)
