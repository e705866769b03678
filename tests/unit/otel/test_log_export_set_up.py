"""Log records that are exported, beside what the application does with logging itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from held_locks import holding

from dotflow_otel.span_ids import SpanIds

# Exports to a list; what an exporter's own libraries log is logged here too.
_SET_UP = """
import json, logging, logging.config, sys
from opentelemetry.sdk.resources import Resource
from dotflow_otel.sdk.log_pipeline import export_records
from dotflow_otel.sdk.log_pipeline import LogWriter, set_provider

class Exporter:
    def __init__(self):
        self.bodies = []
    def export(self, batch):
        logging.getLogger("urllib3.connectionpool").debug("connecting")
        self.bodies += [getattr(each, "log_record", each).body for each in batch]
    def shutdown(self):
        pass
    def force_flush(self, timeout_millis=0):
        return True

exporter = Exporter()
resource = Resource.get_empty()
provider, pipelines = set_provider(resource, [exporter])
export_records(LogWriter(provider, resource))
"""
_TELL = """
for pipeline in pipelines:
    pipeline.shutdown()
print(json.dumps(exporter.bodies))
"""


# As a program has it that imports the functions by name, before it sets telemetry up.
_EARLY = "from logging.config import dictConfig, fileConfig\n"


def exported(program: str) -> tuple[list[str], str]:
    """Run a program with log export on; give the bodies that were exported, and its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", _EARLY + _SET_UP + program + _TELL],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    bodies: list[str] = json.loads(done.stdout)
    return bodies, done.stderr


def test_what_an_export_logs_is_not_exported() -> None:
    """The records of an exporter's own libraries, at DEBUG, cause no further export."""
    program = """
logging.root.setLevel(logging.DEBUG)
logging.getLogger("app").debug("hello")
for pipeline in pipelines:
    pipeline.force_flush()
logging.getLogger("urllib3.connectionpool").debug("of the application itself")
"""
    bodies, _ = exported(program)
    assert bodies == ["hello", "of the application itself"]


@pytest.mark.parametrize(
    "configure",
    [
        "logging.basicConfig(format='app: %(message)s', level=logging.INFO)",
        "logging.basicConfig(format='app: %(message)s', level=logging.INFO, force=True)",
        """logging.config.dictConfig({
            "version": 1,
            "formatters": {"app": {"format": "app: %(message)s"}},
            "handlers": {"app": {"class": "logging.StreamHandler", "formatter": "app"}},
            "root": {"level": "INFO", "handlers": ["app"]},
        })""",
        """dictConfig({
            "version": 1,
            "formatters": {"app": {"format": "app: %(message)s"}},
            "handlers": {"app": {"class": "logging.StreamHandler", "formatter": "app"}},
            "root": {"level": "INFO", "handlers": ["app"]},
        })""",
        """import io; fileConfig(io.StringIO(chr(10).join((
            "[loggers]", "keys=root", "[handlers]", "keys=app", "[formatters]", "keys=app",
            "[logger_root]", "level=INFO", "handlers=app",
            "[handler_app]", "class=StreamHandler", "formatter=app", "args=(sys.stderr,)",
            "[formatter_app]", "format=app: %(message)s",
        ))))""",
    ],
    ids=["basic", "forced", "dict", "dict by name", "file by name"],
)
def test_logging_that_is_configured_later(configure: str) -> None:
    """An application that configures logging after the set-up gets it, and exports go on."""
    bodies, stderr = exported(configure + "\nlogging.getLogger('app').info('hello')\n")
    assert bodies == ["hello"]
    assert stderr == "app: hello\n"


@pytest.mark.parametrize(
    "call",
    [
        "logging.warning('careful')",
        "logging.info('not shown, but configures')",
        "logging.getLogger('shop').warning('not configured')",
    ],
)
def test_logging_that_nobody_configures(call: str) -> None:
    """A program that has not configured logging prints the same lines with and without export."""
    program = f"""
import logging
{call}
logging.getLogger("shop").warning("sold out")
logging.getLogger("shop").info("quiet")
"""
    alone = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    bodies, stderr = exported(program)
    assert stderr == alone.stderr
    assert bodies[-1] == "sold out"


def test_a_text_that_cannot_be_encoded() -> None:
    """A record with the name of a file that is no UTF-8 is exported with that escaped."""
    program = "logging.getLogger('app').error('no \\udce9.csv', extra={'file': '\\udce9'})\n"
    assert exported(program)[0] == ["no \\udce9.csv"]


@pytest.mark.parametrize("ids", [None, SpanIds("0a" * 16, "b7" * 8, sampled=True)])
def test_ids_of_a_record(ids: SpanIds | None) -> None:
    """They are those of its event or none, whatever span is current, and nobody is warned."""
    from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

    from dotflow_otel.sdk.log_pipeline import LogWriter

    class Kept(LogRecordProcessor):
        def __init__(self) -> None:
            self.records: list[Any] = []

        def on_emit(self, log_record: Any) -> None:
            self.records.append(log_record.log_record)

        emit = on_emit

        def shutdown(self) -> None: ...

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

    kept, resource = Kept(), Resource({"service.name": "billing"})
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(kept)
    current = SpanContext(5, 7, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(current)):
        LogWriter(provider, resource).write("app", 20, "hello", {"n": 1}, time_ns=1, ids=ids)
    (record,) = kept.records
    found = record.trace_id, record.span_id, record.trace_flags
    assert found == ((0, 0, 0) if ids is None else (int(ids.trace_id, 16), int(ids.span_id, 16), 1))
    assert (record.body, dict(record.attributes), record.timestamp) == ("hello", {"n": 1}, 1)
    assert getattr(record, "resource", resource) == resource  # newer records have none


def test_a_signal_handler_that_logs() -> None:
    """A record that comes while another is written, in the same thread, does not hang."""
    from opentelemetry.sdk.resources import Resource

    from dotflow_otel.sdk.batching import Account
    from dotflow_otel.sdk.log_pipeline import LogWriter

    class Loggers:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def get_logger(self, name: str) -> Any:
            self.asked.append(name)
            return self

        def emit(self, record: object) -> None:
            """Take it."""

    loggers = Loggers()
    writer = LogWriter(loggers, Resource.get_empty())  # type: ignore[arg-type]
    for _ in range(2):
        writer.write("app", 20, "hello", {}, time_ns=1, ids=None)
    assert loggers.asked == ["app"]
    account = Account("logs", 5)

    def admit_inside() -> None:
        with holding(account):
            account.admit()

    thread = threading.Thread(target=admit_inside, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
