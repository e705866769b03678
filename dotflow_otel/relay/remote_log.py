"""The ids of a task in the log records of a step that runs in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structlog.contextvars import bound_contextvars

from dotflow_otel.relay.log_relay import log_relay_here
from dotflow_otel.relay.process import this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dotflow_otel.relay.backlog import Taken
    from dotflow_otel.relay.log_entry import Entry
    from dotflow_otel.relay.log_relay import LogBox
    from dotflow_otel.relay.process import Process


class RemoteLogs:
    """What the scopes of a run's attempts have in common: their kit.

    Args:
        ids: What is bound for each of them.
        levels: The levels that the application has set, as `levels_here` gives them.
        owner: Tells the process that owns the run.
    """

    def __init__(self, ids: Mapping[str, str], levels: bytes, owner: Process) -> None:
        self._sent = ids, levels, owner
        self.ids = ids
        self.levels = levels
        self.owner = owner

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteLogs, self._sent

    def scope(self, ids: Mapping[str, str]) -> RemoteLog:
        """Make the scope of an attempt: see `RemoteLog`."""
        return RemoteLog(self, ids)


class RemoteLog:
    """Binds the ids where the attempt runs, and keeps what the step logs there.

    Args:
        kit: What it has in common with the run's other attempts.
        ids: What is bound besides.

    Attributes:
        on_recorded: Called with how many entries wait, where they are drained.
    """

    on_recorded: Callable[[int], object] | None = None

    def __init__(self, kit: RemoteLogs, ids: Mapping[str, str]) -> None:
        self.kit = kit
        self.own = (ids,)
        self._box: LogBox | None = None
        self._bound: AbstractContextManager[None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteLog, (self.kit, *self.own)

    def prepare(self) -> None:
        """Keep what the step logs here, where logging is not configured."""
        kit = self.kit
        if kit.owner != this_process():
            self._box = log_relay_here().begin(kit.owner, kit.levels, self.on_recorded)

    def __enter__(self) -> None:
        self._bound = bound_contextvars(**self.kit.ids, **self.own[0])
        self._bound.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bound is not None:
            # Without the error, of which it would set attributes.
            self._bound.__exit__(None, None, None)

    def drain(self) -> Taken[Entry] | None:
        """Return some of what was logged, called while the step runs."""
        return None if self._box is None else log_relay_here().take_some(self._box)

    def collect(self) -> Taken[Entry] | None:
        """Return what was logged, called after the exit."""
        return None if self._box is None else log_relay_here().end(self._box)
