"""The values that options can have: others are refused, with what to give in their place.

Each check takes the option's name, for the error, and the value, and raises `InvalidOption`.
"""

from __future__ import annotations

import os
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any

from dotflow.core.exception import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_count(option: str, value: object, *, optional: bool = True) -> None:
    """Check a whole number of at least 1; or, where it is optional, None."""
    if value is None and optional:
        return
    # True is an `int` as well, and nobody means 1 by it.
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(option, value, "give a whole number, 1 or more")


def check_seconds(option: str, value: Any, *, optional: bool = False, zero: bool = False) -> None:
    """Check a number of seconds that can be waited: above 0; or 0 or None, where allowed."""
    if value is None and optional:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A number that is none is neither above nor below another.
    if not number or not (0 <= value <= TIMEOUT_MAX) or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise InvalidOption(option, value, f"give a number of seconds, {least}")


def check_flag(option: str, value: object, *, optional: bool = False) -> None:
    """Check a boolean; or, where it is optional, None."""
    if not (isinstance(value, bool) or (value is None and optional)):
        values = "True, False or None" if optional else "True or False"
        raise InvalidOption(option, value, f"give {values}")


def check_text(
    option: str,
    value: object,
    expected: str = "give a text",
    *,
    optional: bool = False,
    blank: bool = False,
) -> None:
    """Check a text that is not blank; or a blank one or None, where allowed."""
    if value is None and optional:
        return
    if not isinstance(value, str) or not (blank or value.strip()):
        raise InvalidOption(option, value, expected)


def check_choice(
    option: str, value: object, allowed: Iterable[str], *, optional: bool = False
) -> None:
    """Check one of several texts; or, where it is optional, None."""
    if value is None and optional:
        return
    names = tuple(allowed)
    # A text alone: other types may equal anything, or cannot be looked up.
    if not isinstance(value, str) or value not in names:
        raise InvalidOption(option, value, f"use one of {', '.join(names)}")


def check_folder(option: str, value: Any, inner: str = "") -> None:
    """Check the path of a folder, which need not exist yet, nor the one of that name in it."""
    path = _check_path(option, value)
    at = _not_a_folder(os.path.join(path, inner))
    if at is not None:
        raise InvalidOption(option, value, f"{at} is a file: give the path of a folder")


def check_file(option: str, value: Any, *, optional: bool = False) -> None:
    """Check the path of a file, which need not exist yet; or, where it is optional, None."""
    if value is None and optional:
        return
    path = _check_path(option, value)
    if os.path.isdir(path):
        raise InvalidOption(option, value, "it is a folder: give the path of a file")
    at = _not_a_folder(os.path.dirname(path))
    if at is not None:
        raise InvalidOption(option, value, f"{at} is a file, and no folder: give another path")


def check_instance(option: str, value: object, kind: type, expected: str) -> None:
    """Check an instance of a class."""
    if not isinstance(value, kind):
        is_class = isinstance(value, type) and issubclass(value, kind)
        raise InvalidOption(option, value, instance_hint(value) if is_class else expected)


def check_method(option: str, value: object, method: str, expected: str) -> None:
    """Check that an object has a method, which is all that is asked of its class."""
    found = _has(value, method)
    if isinstance(value, type) or not found:
        raise InvalidOption(option, value, instance_hint(value) if found else expected)


def check_callable(option: str, value: object, expected: str) -> None:
    """Check what can be called."""
    if not callable(value):
        raise InvalidOption(option, value, expected)


def _check_path(option: str, value: Any) -> str:
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InvalidOption(option, value, "give a path, as a text or a pathlib.Path")
    return path


def _not_a_folder(path: str) -> str | None:
    # The nearest part of it that exists.
    at = os.path.abspath(path)
    while not os.path.lexists(at) and at != os.path.dirname(at):
        at = os.path.dirname(at)
    return None if os.path.isdir(at) else at


def instance_hint(provider: Any) -> str:
    """Return what to do where a class was given in place of an instance."""
    return f"this is the class itself: call it, as {provider.__name__}(...)"


def _has(value: object, method: str) -> bool:
    try:
        return callable(getattr(value, method))
    except AttributeError:
        return False
    except Exception:  # noqa: BLE001 - a proxy of what is not there yet, which time will tell
        return True
