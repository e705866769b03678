"""Steps whose module imports no OpenTelemetry: they do it themselves, or not at all."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
import threading
from contextvars import copy_context
from importlib.machinery import PathFinder
from time import time_ns
from typing import Any

from dotflow import Config, DotFlow, action

_go_on = threading.Event()
_left: list[threading.Thread] = []


def import_opentelemetry() -> None:
    """Import it: for an initializer, so that no step of a worker is without it."""
    import opentelemetry.trace  # noqa: F401 - what this is for


def imported() -> list[str]:
    """Return the modules of OpenTelemetry that are imported, and what watches for their import."""
    finders = [type(each).__module__ for each in sys.meta_path]
    modules = [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]
    return sorted(modules) + [name for name in finders if name.startswith("dotflow_otel")]


def current_ids() -> tuple[int, int]:
    """Return the ids of the current span."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return context.trace_id, context.span_id


def open_span(name: str) -> None:
    """Open a span, and end it."""
    from opentelemetry import trace

    with trace.get_tracer("lean").start_as_current_span(name):
        pass


@action
def looks() -> list[str]:
    """Return what is imported."""
    return imported()


@action
def times() -> tuple[int, int]:
    """Return when it begins and ends."""
    began = time_ns()
    return began, time_ns()


@action
def fails() -> None:
    """Fail."""
    raise ValueError("no such table")


@action(retry=2, retry_delay=0)
def fails_twice() -> None:
    """Fail, and fail again."""
    raise KeyError("k")


@action
def logs() -> None:
    """Write a record."""
    logging.getLogger("lean").warning("from the step")


@action
def traces() -> tuple[tuple[int, int], list[str]]:
    """Write into the current span, and open others; return its ids, and what watches then."""
    from opentelemetry import baggage, trace

    open_span("before")
    span = trace.get_current_span()
    span.set_attribute("mine", 1.5)
    span.set_attribute("tenant", str(baggage.get_baggage("tenant")))
    span.add_event("sent", {"bytes": 12})
    with trace.get_tracer("lean", "1.0").start_as_current_span("select"):
        open_span("parse")
    return current_ids(), [name for name in imported() if name.startswith("dotflow")]


@action
def traces_and_fails() -> None:
    """Open a span, and fail."""
    open_span("select")
    raise ValueError("no such table")


@action
class Pipe:
    """A class step."""

    @action
    def first(self) -> int:
        """Succeed, with a span."""
        open_span("inner")
        return 4

    @action(retry=2, retry_delay=0)
    def second(self) -> int:
        """Fail twice."""
        raise KeyError("k")


@action
def threads() -> dict[str, tuple[int, int]]:
    """Import it in a thread; return what is current there, here, and in threads with a context."""
    found: dict[str, tuple[int, int]] = {}

    def look(name: str) -> None:
        found[name] = current_ids()

    context = copy_context()
    calls: list[Any] = [
        lambda: look("bare thread"),
        lambda: context.run(look, "thread with the context"),
    ]
    for call in calls:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    look("step")
    return found


@action
async def coroutines() -> list[tuple[int, int]]:
    """Import it in one of several tasks; return what is current in them and around them."""
    imported_there = asyncio.Event()

    async def waits() -> tuple[int, int]:
        await imported_there.wait()
        return current_ids()

    async def imports() -> tuple[int, int]:
        found = await asyncio.to_thread(current_ids)
        imported_there.set()
        return found

    found = await asyncio.gather(waits(), imports())
    return [*found, current_ids()]


@action
def detaches() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return what is current where no span is to be, and after that."""
    from opentelemetry.context import Context, attach, detach

    token = attach(Context())
    within = current_ids()
    detach(token)
    return within, current_ids()


@action
def roots() -> None:
    """Open a span without a parent, in a task that began before the import."""
    from opentelemetry.context import Context
    from opentelemetry.trace import get_tracer

    tracer = get_tracer("lean")
    copy_context().run(lambda: tracer.start_span("root", context=Context()).end())


@action
def leaves_a_thread() -> None:
    """Leave a thread that opens a span when it is let go on."""
    context = copy_context()

    def late() -> None:
        _go_on.wait(20)
        context.run(open_span, "late")

    _left.append(threading.Thread(target=late))
    _left[0].start()


@action
def lets_it_go_on() -> tuple[int, int]:
    """Let that thread go on to its end, and return what is current here."""
    _go_on.set()
    _left.pop().join(20)
    return current_ids()


@action
def looks_for_it() -> tuple[bool, list[str], list[str], bool]:
    """Ask whether it can be imported, then import it; return what is imported before and after."""
    found = importlib.util.find_spec("opentelemetry") is not None
    before = imported()
    import opentelemetry
    import opentelemetry.trace

    spec = opentelemetry.__spec__
    is_whole = opentelemetry is sys.modules["opentelemetry"] and (
        opentelemetry.trace is sys.modules["opentelemetry.trace"]
        and spec is not None
        and type(spec.loader).__module__.startswith(("importlib", "_frozen"))
    )
    after = [name for name in imported() if name.startswith("dotflow")]
    return found, before, after, is_whole


class _Wrapping:
    """A finder as import hooks of others have it: it wraps the loaders that others find."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self._is_finding = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find a module as the other finders do, and wrap its loader."""
        if self._is_finding or name not in ("opentelemetry", "opentelemetry.trace"):
            return None
        self._is_finding = True
        spec = importlib.util.find_spec(name)
        self._is_finding = False
        if spec is not None:
            spec.loader = _Wrapped(spec.loader, self.loaded)  # type: ignore[assignment]
        return spec


class _Wrapped:
    def __init__(self, loader: Any, loaded: list[str]) -> None:
        self._loader = loader
        self._loaded = loaded

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        self._loaded.append(module.__name__)


@action
def wraps_the_loader() -> tuple[list[str], tuple[int, int]]:
    """Return what such a finder has loaded of the namespace, and what is current."""
    finder = _Wrapping()
    sys.meta_path.insert(0, finder)
    found = current_ids()
    sys.meta_path.remove(finder)
    return [name for name in finder.loaded if name == "opentelemetry"], found


class _First:
    """A finder that asks no other one."""

    find_spec = staticmethod(PathFinder.find_spec)


@action
def imports_past_finders() -> None:
    """Import it where a finder that is asked before all others finds it."""
    finder: Any = _First()
    sys.meta_path.insert(0, finder)
    import opentelemetry.trace  # noqa: F401 - what is tried

    sys.meta_path.remove(finder)


@action
def imports_ours() -> tuple[int, bool]:
    """Import a module of ours that makes spans; return its kind of spans, and whether it is one."""
    from dotflow_otel.spans import record, sdk_access

    whole = record is sys.modules["dotflow_otel.spans.record"]
    return current_ids()[1], whole and sdk_access is sys.modules["dotflow_otel.spans.sdk_access"]


@action
def runs_a_workflow() -> None:
    """Run a workflow with a tracer."""
    from dotflow_otel import TracerOpenTelemetry

    flow = DotFlow(config=Config(tracer=TracerOpenTelemetry()), name="inner")
    flow.task.add(times)
    flow.start()
