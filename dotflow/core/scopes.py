"""What is entered around a step: scopes of providers, guarded so that none can fail it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.scope import Scope, WorkerScope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dotflow.core.action import Action

    # Takes the slot of the provider, the name of the hook, and its error.
    Report = Callable[[str, str, Exception], object]


class GuardedScopes(Scope):
    """The scopes of an attempt as one: entered in order, left in reverse, each guarded.

    Args:
        scopes: The slot of its provider, and the scope, for each.
        report: Called with an error, which goes no further.
    """

    __slots__ = ("_entered", "_inside", "_report", "_scopes")

    def __init__(self, scopes: Sequence[tuple[str, Any]], report: Report) -> None:
        self._scopes = scopes
        self._report = report
        self._entered: list[tuple[str, Any]] = []
        self._inside = 0

    def __bool__(self) -> bool:
        return bool(self._scopes)

    @property
    def _remote(self) -> Sequence[tuple[str, WorkerScope]]:
        return [each for each in self._scopes if isinstance(each[1], WorkerScope)]

    def prepare(self, on_recorded: Callable[[int], object] | None = None) -> None:
        """Prepare the remote ones among the scopes: what the step may look for.

        Args:
            on_recorded: Called by those that can be drained when something waits there, with how
                much; None: nobody drains them.
        """
        for slot, scope in self._remote:
            scope.on_recorded = on_recorded
            try:
                scope.prepare()
            except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
                self._report(slot, "prepare", error)

    def __enter__(self) -> None:
        for each in self._scopes:
            slot, scope = each
            try:
                scope.__enter__()
                self._entered.append(each)
                self._inside += 1
            except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
                self._report(slot, "attempt_scope", error)
            except BaseException as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._inside:
            self._inside -= 1
            slot, scope = self._entered[self._inside]
            try:
                scope.__exit__(kind, error, traceback)
            except Exception as broken:  # noqa: BLE001 - telemetry never breaks a run
                self._report(slot, "attempt_scope", broken)
            except BaseException:
                self.__exit__(kind, error, traceback)
                raise

    def method_scope(self, action: Action, attempt: int | None) -> GuardedScopes | None:
        """Return what is entered around a method of a class step, if anything."""
        found = []
        for slot, scope in self._entered:
            if not isinstance(scope, Scope):
                continue
            try:
                below = scope.method_scope(action, attempt)
            except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
                self._report(slot, "method_scope", error)
                continue
            if below is not None:
                found.append((slot, below))
        return GuardedScopes(found, self._report) if found else None

    def drain(self) -> dict[str, object]:
        """Return what the remote ones among the scopes have recorded by now, by slot.

        Called in another thread than the step's, while that runs.
        """
        drained = {}
        for slot, scope in self._remote:
            try:
                recorded = scope.drain()
            except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
                self._report(slot, "drain", error)
                continue
            if recorded is not None:
                drained[slot] = recorded
        return drained

    def collect(self) -> dict[str, object]:
        """Return what the remote ones among the scopes recorded, by slot."""
        # Those that were prepared have something also where the step could not be read.
        found = ((slot, self._collected(slot, scope)) for slot, scope in self._remote)
        return {slot: recorded for slot, recorded in found if recorded is not None}

    def _collected(self, slot: str, scope: Any) -> object:
        try:
            return scope.collect()
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            self._report(slot, "collect", error)
            return None


def within(scopes: Sequence[AbstractContextManager[object]], call: Callable[[], Any]) -> Any:
    """Make a call with scopes entered around it, the first one outermost."""
    if not scopes:
        return call()
    with scopes[0]:
        return call() if len(scopes) == 1 else within(scopes[1:], call)


def method_scopes(
    scopes: Sequence[AbstractContextManager[object]], action: Action, attempt: int | None
) -> Sequence[AbstractContextManager[object]]:
    """Return what the scopes of an attempt want to be entered around a method of its step."""
    found = (each.method_scope(action, attempt) for each in scopes if isinstance(each, Scope))
    return [scope for scope in found if scope is not None]
