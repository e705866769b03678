"""What is entered around a step: scopes of providers, guarded so that none can fail it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from dotflow.abc.scope import Scope
    from dotflow.core.action import Action

    # Told the name of the hook and its error.
    Report = Callable[[str, Exception], object]


class GuardedScope:
    """A scope whose errors are told and go no further.

    Args:
        scope: The scope.
        report: Told of an error.
    """

    __slots__ = ("_entered", "_report", "_scope")

    def __init__(self, scope: Scope, report: Report) -> None:
        self._scope = scope
        self._report = report
        self._entered = False

    def __enter__(self) -> None:
        try:
            self._scope.__enter__()
            self._entered = True
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            self._report("attempt_scope", error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._entered:
            return
        try:
            self._scope.__exit__(kind, error, traceback)
        except Exception as broken:  # noqa: BLE001 - telemetry never breaks a run
            self._report("attempt_scope", broken)

    def method_scope(self, action: Action, attempt: int | None) -> GuardedScope | None:
        """Give what is entered around a method of a class step, if anything."""
        give = getattr(self._scope, "method_scope", None)
        if give is None or not self._entered:
            return None
        try:
            scope = give(action, attempt)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            self._report("method_scope", error)
            return None
        return None if scope is None else GuardedScope(scope, self._report)

    def collect(self) -> object:
        """Give what a remote scope recorded; None where that fails."""
        if not self._entered:
            return None
        try:
            return self._scope.collect()  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            self._report("collect", error)
            return None


def within(scopes: Sequence[Scope], call: Callable[[], Any]) -> Any:
    """Make a call with scopes entered around it, the first one outermost."""
    if not scopes:
        return call()
    with scopes[0]:
        return within(scopes[1:], call)


def method_scopes(scopes: Sequence[Scope], action: Action, attempt: int | None) -> Sequence[Scope]:
    """Give what the scopes of an attempt want to be entered around a method of its step."""
    gives = (getattr(scope, "method_scope", None) for scope in scopes)
    found = (give(action, attempt) for give in gives if give is not None)
    return [scope for scope in found if scope is not None]
