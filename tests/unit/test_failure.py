"""Releasing the frames that exceptions hold."""

from __future__ import annotations

from typing import Any

from dotflow.core.failure import Failure, drop_tracebacks


class Hostile(Exception):
    """Raises wherever one looks."""

    @property
    def __traceback__(self) -> Any:
        """Raise."""
        raise RuntimeError("do not look")

    @property
    def __context__(self) -> Any:
        """Raise."""
        raise RuntimeError("do not look")

    @property
    def __class__(self) -> Any:
        """Pretend to be a group."""
        return ExceptionGroup

    def __eq__(self, other: object) -> bool:
        """Raise."""
        raise RuntimeError("do not compare")

    __hash__ = None  # type: ignore[assignment]


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - with its traceback
        return caught


def _has_frames(error: BaseException) -> bool:
    return vars(BaseException)["__traceback__"].__get__(error) is not None


def test_a_hostile_exception_lets_go_too() -> None:
    """Only what `BaseException` itself knows of an exception is asked."""
    error = _raised(Hostile())
    assert _has_frames(error)
    drop_tracebacks([error], keep=None)
    assert not _has_frames(error)


def test_what_is_kept_keeps_all_that_it_comes_from() -> None:
    """Of two chains that meet, what the kept one reaches stays whole."""
    common, kept, dropped = (_raised(ValueError(name)) for name in ("common", "kept", "dropped"))
    kept.__cause__ = dropped.__cause__ = common
    drop_tracebacks([dropped, kept], keep=kept)
    assert [_has_frames(error) for error in (common, kept, dropped)] == [True, True, False]
    drop_tracebacks([kept], keep=None)
    assert [_has_frames(error) for error in (common, kept, dropped)] == [False, False, False]


def test_groups_as_deep_as_they_come() -> None:
    """An interruption is found in groups that are nested deeper than calls can be."""
    group: BaseException = KeyboardInterrupt()
    for _ in range(1500):
        group = BaseExceptionGroup("g", [group])
    kind = Failure.of(group).kind
    assert kind == "interrupted"
