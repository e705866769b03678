"""The span of an attempt in a worker that has not imported OpenTelemetry, and may never.

To import it takes longer than most first steps do, and until something does so nobody can ask for
the current span or open one. So the times of the attempt's span are noted, no more. Whatever
imports OpenTelemetry then, or more of this package, finds the worker as if that had been imported
before the step: the relay is the global provider, and the attempt's span the current one wherever
code has the context of the step.
"""

from __future__ import annotations

import logging
import os
import sys
from contextvars import Context
from functools import cached_property, wraps
from threading import get_ident
from time import time_ns
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from dotflow.abc.scope import RemoteScope
from dotflow.core.process import fork_safe_lock, once
from dotflow.workers.pickling import load_or_none
from dotflow_otel._process import this_process
from dotflow_otel.relay.buffers import Returned
from dotflow_otel.span_ids import SpanClock, deferred

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType, TracebackType

    from opentelemetry.context import Context as SpanContexts
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    from dotflow.core.action import Action
    from dotflow_otel._process import Process
    from dotflow_otel.relay.remote_span import RemoteSpan
    from dotflow_otel.relay.set_up import SetUp
    from dotflow_otel.relay.span_relay import SpanBuffer
    from dotflow_otel.spans.attributes import MethodScope

_logger: Final = logging.getLogger("dotflow_otel")

# The variable that names another implementation of the current context than the usual one.
_CONTEXT: Final = "OTEL_PYTHON_CONTEXT"
_USUAL_CONTEXT: Final = "contextvars_context"

# What begins an import after which the current span may be asked for. Modules of this package are
# among it so that none of those that make the span is half imported when that is made.
_WATCHED: Final = ("opentelemetry", "dotflow_otel.")

_SAMPLED: Final = 1


class RemoteSpans:
    """What the spans of a run's attempts in workers have in common, sent once.

    Args:
        trace_id: Of their spans.
        flags: Of their spans.
        state: Of their spans, as in the W3C header.
        recording: Whether their spans are recorded.
        baggage: The entries of the caller's baggage.
        owner: Tells the process that owns the run.
        run: Tells the run from others of that process.
        set_up: What the application has set up in code.
        sampler: The application's sampler, pickled, where it is to be asked in workers.
        deferrable: Whether OpenTelemetry may be imported after the step has begun: not where it is
            to be set up before, or the sampler is of a module that may itself import it.
    """

    def __init__(
        self,
        trace_id: int,
        flags: int,
        state: str,
        recording: bool,
        baggage: Mapping[str, Any],
        owner: Process,
        run: int,
        set_up: SetUp | None = None,
        sampler: bytes | None = None,
        deferrable: bool = False,
    ) -> None:
        self._sent = (
            trace_id, flags, state, recording, baggage, owner, run, set_up, sampler, deferrable,
        )  # fmt: skip
        self._set_up = set_up
        self._sampler = sampler
        self._deferrable = deferrable
        self.trace_id = trace_id
        self.flags = flags
        self.recording = recording
        self.baggage = baggage
        self.owner = owner
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteSpans, self._sent

    @property
    def is_away(self) -> bool:
        """Whether this is another process than the run's."""
        return self.owner != this_process()

    @property
    def sampled(self) -> bool:
        """Whether the spans are exported."""
        return bool(self.flags & _SAMPLED)

    @cached_property
    def sampler(self) -> Sampler | None:
        """The application's sampler, where it is asked here."""
        found: Sampler | None = load_or_none(self._sampler)
        return found

    def apply_set_up(self) -> None:
        """Set up in a worker what the application has set up, once."""
        set_up, self._set_up = self._set_up, None
        if set_up is not None:
            set_up.apply()

    @cached_property
    def _of_all(self) -> tuple[type[SpanContext], TraceFlags, TraceState]:
        from opentelemetry.trace import (  # noqa: PLC0415 - a worker may never need it
            SpanContext,
            TraceFlags,
            TraceState,
        )

        state = self._sent[2]
        found = TraceState.from_header([state]) if state else TraceState.get_default()
        return SpanContext, TraceFlags(self.flags), found

    def ids(self, span_id: int, *, is_remote: bool) -> SpanContext:
        """Return the context of one of the spans."""
        kind, flags, state = self._of_all
        return kind(self.trace_id, span_id, is_remote, flags, state)

    def scope(
        self, parent_id: int, span_id: int, attributes: dict[str, Any]
    ) -> RemoteSpan | DeferredSpan:
        """Return the scope of an attempt: a `RemoteSpan`, or one that becomes it when needed."""
        if self._deferrable and not _has_imported() and self.is_away:
            return DeferredSpan(self, parent_id, span_id, attributes)
        from dotflow_otel.relay.remote_span import RemoteSpan  # noqa: PLC0415 - as above

        return RemoteSpan(self, parent_id, span_id, attributes)


def _has_imported() -> bool:
    if "opentelemetry" in sys.modules:
        return True
    # Another implementation of the current context may not tell that there is none.
    return os.environ.get(_CONTEXT, _USUAL_CONTEXT) != _USUAL_CONTEXT


class DeferredSpan(RemoteScope):
    """The scope of an attempt in a worker of ours, which runs one at a time.

    Args:
        shared: What it has in common with the run's other attempts.
        parent_id: The id of the task's span.
        span_id: Its own id.
        attributes: What the span begins with.

    Attributes:
        buffer: What the spans that the step opens are kept in, once there is OpenTelemetry.
        context: That of the step, where it began before.
    """

    shared: RemoteSpans

    def __init__(
        self, shared: RemoteSpans, parent_id: int, span_id: int, attributes: dict[str, Any]
    ) -> None:
        self.shared = shared
        self.arguments = parent_id, span_id, attributes
        self.buffer: SpanBuffer | None = None
        self.context: SpanContexts | None = None
        self._made: RemoteSpan | None = None
        self._clock: SpanClock | None = None
        self._started = 0
        self._ended = 0
        self._is_collected = False

    @property
    def ids(self) -> tuple[int, int, int] | None:
        """The ids and flags of the span, once it is the current one."""
        return (
            (self.shared.trace_id, self.arguments[1], self.shared.flags) if self._started else None
        )

    def prepare(self) -> None:
        """Watch for the import of OpenTelemetry, which the step's module may begin."""
        deferred.set(self)
        with _lock:
            _all.add(self)
            if _finder not in sys.meta_path:
                sys.meta_path.insert(0, _finder)
        if _has_imported():  # in another thread, that an attempt has left behind
            make_spans()

    def __enter__(self) -> None:
        if self._made is None and _has_imported():  # past the finder, by one that was before it
            make_spans()
        with _lock:
            self._started = time_ns()
            if self._made is None:
                self._clock = SpanClock()
            else:
                self._made.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _lock:
            if self._made is not None:
                self._made.__exit__(kind, error, traceback)
            elif self._clock is not None:
                self._ended = self._clock.now()

    def make(self) -> None:
        """Make the span, as it would be had it been made before."""
        from dotflow_otel.relay.remote_span import RemoteSpan  # noqa: PLC0415 - it needs the SDK

        with _lock:
            if self._made is not None:
                return
            made = RemoteSpan(self.shared, *self.arguments)
            made.on_recorded = self.on_recorded
            # Who imports it need not be the step: its context belongs to the attempt as it is.
            self.buffer = made.open_buffer(is_late=self._is_collected)
            if self._clock is not None:
                self.context = made.begin(self._started, self._clock)
            if self._ended:
                made.end(self._ended)
            self._made = made

    def method_scope(self, action: Action, attempt: int | None) -> MethodScope | None:
        """Return what makes a span of a method of a class step, or of a try of it."""
        make_spans()
        return None if self._made is None else self._made.method_scope(action, attempt)

    def drain(self) -> bytes | None:
        """Return some of what was recorded below the span, as `RemoteSpan` does."""
        return None if self._made is None else self._made.drain()

    def collect(self) -> bytes | None:
        """Return what was recorded, as `RemoteSpan` does."""
        deferred.set(None)
        with _lock:
            self._is_collected = True
            made = self._made
        if made is not None:
            return made.collect()
        if not (self._ended and self.shared.recording):
            return None
        return Returned((self._started, self._ended), None, (), 0).packed()


# One for all: a worker runs one attempt at a time. Nothing is imported while it is held.
_lock: Final = fork_safe_lock()
_all: Final[WeakSet[DeferredSpan]] = WeakSet()

# The threads that make spans: what they import meanwhile is what makes them.
_making: Final[set[int]] = set()


def make_spans() -> None:
    """Import OpenTelemetry, and make the spans that were deferred."""
    thread = get_ident()
    _making.add(thread)
    try:
        _let_contexts_be_found()
        with _lock:
            found = list(_all)
        for each in found:
            each.make()
        with _lock:
            _all.difference_update(found)
            if _finder in sys.meta_path:
                sys.meta_path.remove(_finder)
    except Exception:
        # An import must not fail by it.
        text = "the spans of a step cannot be recorded in its worker; the step is not affected"
        _logger.warning(text, exc_info=True)
    finally:
        _making.discard(thread)


@once
def _let_contexts_be_found() -> bool:
    """Make the current context the step's in what began there before the import.

    To attach it would set it for the code that imports, and for what that calls: not for the
    coroutine or the function around it.
    """
    from opentelemetry import context  # noqa: PLC0415 - where it is used

    find = context.get_current
    # Where none is attached, it is one and the same.
    none_attached = Context().run(find)

    @wraps(find)
    def get_current() -> SpanContexts:
        found = find()
        if found is none_attached:
            attempt = deferred.get()
            if attempt is not None and attempt.context is not None:
                return attempt.context
        return found

    context.get_current = get_current
    return True


class _Finder:
    """Finds what is watched where others find it, with a loader that has spans made first."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith(_WATCHED) or get_ident() in _making:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                # A namespace has no loader, as `opentelemetry` itself.
                if spec.loader is None or hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment] # has its methods
                return spec
        return None


class _Loader:
    """Loads a module as its own loader does, once the spans are made."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._is_imported = False

    def create_module(self, spec: Any) -> Any:
        # Before the module is there, so that what makes the spans can import all of it.
        make_spans()
        found = sys.modules.get(spec.name)
        self._is_imported = found is not None
        if found is not None:
            return found
        if spec.loader is self:  # and not a loader around this one
            spec.loader = self._loader
        create = getattr(self._loader, "create_module", None)
        return None if create is None else create(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        if spec is not None and spec.loader is self:
            # A namespace, which is found without a loader, has got one meanwhile.
            spec.loader = self._loader or module.__loader__
        if self._loader is not None and not self._is_imported:
            self._loader.exec_module(module)


_finder: Final[Any] = _Finder()
