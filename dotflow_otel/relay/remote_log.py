"""The ids of a task in the log records of a step that runs in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structlog.contextvars import bound_contextvars

from dotflow_otel.relay.log_relay import log_relay_here
from dotflow_otel.relay.process import this_process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dotflow_otel.relay.backlog import Taken
    from dotflow_otel.relay.log_entry import Entry
    from dotflow_otel.relay.log_relay import LogBox
    from dotflow_otel.relay.process import Process


class RemoteLog:
    """Binds the ids where the attempt runs, and keeps what the step logs there.

    Args:
        ids: What is bound.
        levels: The levels that the application has set, as `levels_here` gives them.
        owner: Tells the process that owns the run.
    """

    def __init__(self, ids: Mapping[str, str], levels: bytes, owner: Process) -> None:
        self._sent = ids, levels, owner
        self._box: LogBox | None = None
        self._bound: AbstractContextManager[None] = bound_contextvars(**ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteLog, self._sent

    @property
    def _is_away(self) -> bool:
        return self._sent[2] != this_process()

    def prepare(self) -> None:
        """Have what the step logs kept here, where logging is not configured."""
        if self._is_away:
            self._box = log_relay_here().begin(self._sent[2], self._sent[1])

    def __enter__(self) -> None:
        self._bound.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bound.__exit__(kind, error, traceback)

    def collect(self) -> Taken[Entry] | None:
        """Give what was logged, called after the exit."""
        return None if self._box is None else log_relay_here().end(self._box)
