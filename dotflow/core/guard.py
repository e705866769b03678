"""The one guarded way to call a provider, and to enter its scopes around a step.

Telemetry observes: an `Exception` of a provider is reported, and the run goes on. What stops a
program, a `KeyboardInterrupt` say, is raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.scope import Scope, WorkerScope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dotflow.core.action import Action
    from dotflow.core.model import Task

    # Takes the slot of the provider, the name of the hook, and its error.
    Report = Callable[[str, str, Exception], object]

    # What to call, the slot of the provider, and the name of the hook.
    Calls = Sequence[tuple[Callable[..., Any], str, str]]


class Deferred:
    """Defers what interrupts a block, so that what comes after it is done as well."""

    __slots__ = ("first",)

    def __init__(self) -> None:
        self.first: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if self.first is None:
            self.first = error
        return True

    def raise_first(self) -> None:
        """Raise the first that was deferred, if any."""
        if self.first is not None:
            raise self.first


class Guard:
    """Calls providers so that no error of theirs reaches the run.

    Args:
        report: Called with an error, which goes no further.
    """

    __slots__ = ("_report",)

    def __init__(self, report: Report) -> None:
        self._report = report

    def call(
        self, slot: str, hook: str, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Call one hook of one provider; return None where it raised an error."""
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            self._report(slot, hook, error)
        return None

    def call_all(self, calls: Calls, task: Task) -> None:
        """Make the calls of one moment of a task.

        Raises:
            KeyboardInterrupt, SystemExit: One of them was interrupted; the others were made,
                for what is counted must balance.
        """
        interruption: BaseException | None = None
        # Not by `call` and `Deferred`: this is done for each task, several times.
        for function, slot, hook in calls:
            try:
                function(task=task)
            except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
                self._report(slot, hook, error)
            except BaseException as error:  # noqa: BLE001 - raised below
                interruption = error if interruption is None else interruption
        if interruption is not None:
            raise interruption


class GuardedScopes(Scope):
    """The scopes of an attempt as one: entered in order, left in reverse, each guarded.

    Args:
        scopes: The slot of its provider, and the scope, for each.
        guard: What they are called by.
    """

    __slots__ = ("_entered", "_guard", "_inside", "_scopes")

    def __init__(self, scopes: Sequence[tuple[str, Any]], guard: Guard) -> None:
        self._scopes = scopes
        self._guard = guard
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
            self._guard.call(slot, "prepare", scope.prepare)

    def __enter__(self) -> None:
        try:
            for each in self._scopes:
                self._guard.call(each[0], "attempt_scope", self._enter, each)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def _enter(self, each: tuple[str, Any]) -> None:
        each[1].__enter__()
        self._entered.append(each)
        self._inside += 1

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
                self._guard.call(slot, "attempt_scope", scope.__exit__, kind, error, traceback)
            except BaseException:
                self.__exit__(kind, error, traceback)
                raise

    def method_scope(self, action: Action, attempt: int | None) -> GuardedScopes | None:
        """Return what is entered around a method of a class step, if anything."""
        scopes = (each for each in self._entered if isinstance(each[1], Scope))
        below = (
            (slot, self._guard.call(slot, "method_scope", scope.method_scope, action, attempt))
            for slot, scope in scopes
        )
        found = [each for each in below if each[1] is not None]
        return GuardedScopes(found, self._guard) if found else None

    def drain(self) -> dict[str, object]:
        """Return what the remote ones among the scopes have recorded by now, by slot.

        Called in another thread than the step's, while that runs.
        """
        return self._recorded("drain")

    def collect(self) -> dict[str, object]:
        """Return what the remote ones among the scopes recorded, by slot."""
        # Those that were prepared have something also where the step could not be read.
        return self._recorded("collect")

    def _recorded(self, method: str) -> dict[str, object]:
        found = (
            (slot, self._guard.call(slot, method, getattr(scope, method)))
            for slot, scope in self._remote
        )
        return {slot: recorded for slot, recorded in found if recorded is not None}


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
