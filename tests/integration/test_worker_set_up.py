"""What an application has set up in code holds in its workers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.core.exception import InvalidOption, PicklingFailed
from dotflow.providers import ExecutorLocal, LogDefault

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("sequential", "sequential_group", "background", "parallel")

# The base of all instrumentations, as the library has it that we do not need ourselves.
_INSTRUMENTOR = """
class BaseInstrumentor:
    _instance = None
    is_instrumented_by_opentelemetry = False

    def __new__(cls):
        if cls.__dict__.get("_instance") is None:
            cls._instance = object.__new__(cls)
        return cls._instance

    def instrument(self):
        self._instrument()
        self.is_instrumented_by_opentelemetry = True
"""
_CLIENTS = """
import instrumentor
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
import client
from opentelemetry import propagate, trace

class ClientInstrumentor(BaseInstrumentor):
    def _instrument(self):
        plain = client.call
        tracer, kind = trace.get_tracer("client"), trace.SpanKind.CLIENT
        def call():
            with tracer.start_as_current_span("GET", kind=kind):
                headers = plain()
                propagate.inject(headers)
                return headers
        client.call = call

class NeverOn(BaseInstrumentor):
    def _instrument(self):
        raise RuntimeError("it was not on")
"""
_PROGRAM = """
import json, sys
sys.modules["opentelemetry.instrumentation"] = __import__("types").ModuleType("x")
import instrumentor
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import TracerOpenTelemetry
from ours import OurPropagator
import client, clients

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
propagate.set_global_textmap(OurPropagator("x-ours"))
clients.ClientInstrumentor().instrument()

@action
def step():
    return client.call()

flow = DotFlow(config=Config(tracer=TracerOpenTelemetry(), log=LogDefault(level="ERROR")), name="w")
flow.task.add(step)
manager = flow.start(mode=sys.argv[1])
if sys.argv[1] == "background":
    manager.thread.join()
(span,) = (each for each in exporter.get_finished_spans() if each.name == "GET")
print(json.dumps([flow.result_storage()[0], f"{span.context.span_id:x}", span.kind.name]))
"""
_OURS = """
from opentelemetry import trace
from opentelemetry.propagators.textmap import TextMapPropagator

class OurPropagator(TextMapPropagator):
    def __init__(self, header):
        self.header = header
    def inject(self, carrier, context=None, setter=None):
        carrier[self.header] = f"{trace.get_current_span(context).get_span_context().span_id:x}"
    def extract(self, carrier, context=None, getter=None):
        return context
    @property
    def fields(self):
        return {self.header}
"""


@pytest.mark.parametrize("mode", MODES)
def test_propagator_and_instrumentation(tmp_path: Path, mode: str) -> None:
    """A step's call carries the application's headers, and has its client span."""
    files = {
        "client.py": "def call():\n    return {}\n",
        "clients.py": _CLIENTS,
        "ours.py": _OURS,
        "program.py": _PROGRAM,
        # Found under the library's name, in this process and in the workers.
        "instrumentor.py": (
            f"import sys\n{_INSTRUMENTOR}\n"
            'sys.modules["opentelemetry.instrumentation.instrumentor"] = sys.modules[__name__]\n'
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py", mode],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    headers, span_id, kind = json.loads(done.stdout)
    assert headers == {"x-ours": span_id}
    assert kind == "CLIENT"
    assert done.stderr == ""


def silent(executor: ExecutorLocal) -> DotFlow:
    """Make a workflow that logs nothing."""
    return DotFlow(config=Config(log=LogDefault(level="CRITICAL"), executor=executor))


def test_the_initializer_is_called_once_in_each_worker(tmp_path: Path) -> None:
    """Before its first step, also of a later run; and not in this process."""
    calls = tmp_path / "calls"

    def initialize() -> None:
        import os

        with calls.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        os.environ_marked = "set"  # type: ignore[attr-defined] # a global of the worker's

    @action
    def step() -> Any:
        import os

        return os.getpid(), os.environ_marked  # type: ignore[attr-defined]

    executor = ExecutorLocal(workers=2, initializer=initialize)
    try:
        found = []
        for _ in range(2):
            flow = silent(executor)
            flow.task.add([step] * 4)
            flow.start(mode="parallel")
            found += flow.result_storage()
    finally:
        executor.close()
    assert {marked for _, marked in found} == {"set"}
    called = calls.read_text(encoding="utf-8").split()
    assert len(called) == len(set(called))
    assert {str(pid) for pid, _ in found} <= set(called)


def test_an_initializer_that_raises() -> None:
    """The attempts of its worker fail with its error, which tells where it was raised."""

    def broken() -> None:
        raise LookupError("no such table")

    @action
    def step() -> int:
        return 1

    executor = ExecutorLocal(workers=1, initializer=broken)
    try:
        flow = silent(executor)
        flow.task.add([step, step])
        flow.start(mode="parallel")
    finally:
        executor.close()
    errors = [task.errors[-1] for task in flow.result_task()]
    assert [(each.exception, each.message) for each in errors] == [
        ("LookupError", "no such table")
    ] * 2
    assert "in broken" in errors[0].traceback


def test_wrong_initializers() -> None:
    """What cannot be called is refused at once, what cannot travel when a run begins."""
    with pytest.raises(InvalidOption, match="initializer"):
        ExecutorLocal(initializer=3)  # type: ignore[arg-type]
    lock = __import__("threading").Lock()
    executor = ExecutorLocal(initializer=lambda: lock)

    @action
    def step() -> int:
        return 1

    flow = silent(executor)
    flow.task.add(step)
    with pytest.raises(PicklingFailed, match="the initializer of an ExecutorLocal"):
        flow.start(mode="parallel")
    executor.close()
