"""Where the telemetry uses private names of other libraries, and which: what may break with them.

Each of these has a way round where a release does not have the name, or a test in the lanes of
`make test-versions` that fails there.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dotflow_otel

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(dotflow_otel.__file__).parent

# Live spans are made by the private parts of the SDK in this file alone. `test_sdk_access.py`
# holds that they are like the SDK's own, and that a run takes that way on the newest release.
FAST_SPANS: Final = "spans/sdk_access.py"

USED: Final = {
    # A forked child's sums and its instance id, which the SDK has no way to begin again.
    "_process.py": {
        "_attributes",
        "_export_lock",
        "_instrument_view_instrument_matches",
        "_measurement_consumer",
        "_reader_storages",
    },
    # Which multiprocess metric is registered already.
    "metrics/instruments_prometheus.py": {"_labelnames", "_names_to_collectors"},
    # An instrument that a step holds goes to workers by what it was made from.
    "metrics/relay.py": {
        "_Gauge",
        "_ProxyMeterProvider",
        "_advisory",
        "_instrumentation_scope",
        "opentelemetry.metrics._internal",
    },
    # A burst of records from workers must not overrun the queue of a batch processor.
    "relay/pacing.py": {
        "_batch_processor",
        "_logger_provider",
        "_multi_log_record_processor",
        "opentelemetry._logs",
        "opentelemetry.sdk._logs",
        "opentelemetry.sdk._logs.export",
    },
    # A record of structlog's that a logger of the standard library has made keeps the logger.
    "relay/log_entry.py": {"_logger"},
    # Which instrumentations are on, for the workers to switch them on as well.
    "relay/set_up.py": {"_instance"},
    # structlog's loggers, which do not pickle.
    "relay/structlogs.py": {"_logger", "_processors", "_proxy_to_logger"},
    # Loggers are configured in the standard library in this way as well.
    "sdk/batching.py": {"_install_loggers"},
    # Logs are in modules with a private name until OpenTelemetry calls them stable.
    "sdk/log_pipeline.py": {
        "_logs",
        "opentelemetry._logs",
        "opentelemetry._logs._internal",
        "opentelemetry.sdk._logs",
        "opentelemetry.sdk._logs.export",
    },
    "sdk/telemetry.py": {"opentelemetry.sdk._logs"},
    # What an exporter that wraps another one has to pass on.
    "sdk/meter.py": {
        "_ProxyMeterProvider",
        "_preferred_aggregation",
        "_preferred_temporality",
        "opentelemetry.metrics._internal",
    },
    # A tracer that a step holds goes to workers by its name.
    "spans/factory.py": {
        "_instrumenting_library_version",
        "_instrumenting_module_name",
        "_schema_url",
    },
    # Its own base's.
    "testing/events.py": {"_output"},
    # What a tracer keeps, for spans that are made in place of it.
    "spans/sdk_tracer.py": {
        "_active_span_processor",
        "_instrumentation_scope",
        "_is_enabled",
        "_span_limits",
        "_span_processors",
    },
    # What the API knows as the sign that requests are not to be traced.
    "untraced.py": {"_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "_SUPPRESS_INSTRUMENTATION_KEY"},
}

OWN: Final = {"_process", "dotflow", "dotflow_otel"}
# Public names of the standard library and structlog, and what series' names end with.
PUBLIC: Final = {
    *("_ASYNC_CALLING_STACK", "_ASYNC_CALLING_THREAD"),
    *("_asdict", "_getframe", "_replace", "_thread"),
    *("_bucket", "_count", "_created", "_info", "_seconds", "_sum", "_total"),
}


def is_private(name: str) -> bool:
    """Return whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__") and len(name) > 1


def defined_in(tree: ast.AST) -> Iterator[str]:
    """Return the names that a file defines, on its classes' objects too."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=ast.Tuple(elts=slots)):
                yield from (slot.value for slot in slots if isinstance(slot, ast.Constant))  # type: ignore[misc]


def used_in(tree: ast.AST) -> Iterator[str]:
    """Return the attributes, imported names and modules, and texts that a file uses."""
    pending = [tree]
    while pending:
        node = pending.pop()
        match node:
            case ast.JoinedStr():  # its texts are parts of words
                pending += [each for each in node.values if not isinstance(each, ast.Constant)]
                continue
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                yield name
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (each.name for each in names)
        pending += ast.iter_child_nodes(node)


def of_others(path: Path) -> set[str]:
    """Return the private names in a file that are defined neither there nor beside it."""
    beside = path.parent.glob("*.py") if path.parent.name == "testing" else [path]
    own = {name for each in beside for name in defined_in(ast.parse(each.read_text()))}
    found = set()
    for name in used_in(ast.parse(path.read_text())):
        words = name.split(".")
        is_name = all(map(str.isidentifier, words)) and any(map(is_private, words))
        if is_name and words[0] not in OWN:
            found.add(name)
    return found - own - PUBLIC


def test_private_names_are_used_where_it_is_told() -> None:
    """No file but these uses a private name of another module, and they use no others."""
    found = {
        path.relative_to(PACKAGE).as_posix(): names
        for path in PACKAGE.rglob("*.py")
        if (names := of_others(path))
    }
    assert "_span_processor" in found.pop(FAST_SPANS)
    assert found == USED
