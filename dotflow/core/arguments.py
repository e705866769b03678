"""What a callable takes, the refusal of what it does not, and the values that options can have.

Read without importing `inspect` where the code object has it all: that takes as long to import as
the whole of `import dotflow`, and nearly every step and callback is a plain function.
"""

from __future__ import annotations

import os
from functools import wraps
from threading import TIMEOUT_MAX
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from dotflow.core.exception import InvalidOption
from dotflow.core.user_objects import defined_by, is_a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


_Function = TypeVar("_Function", bound="Callable[..., Any]")

# `inspect.CO_VARARGS` and `inspect.CO_VARKEYWORDS`: flags of a code object.
_VAR_POSITIONAL: Final = 0x04
_VAR_KEYWORDS: Final = 0x08
# `inspect.CO_GENERATOR`, `CO_COROUTINE` and `CO_ASYNC_GENERATOR`.
_DEFERRED: Final = 0x20 | 0x80 | 0x200


class Parameters(NamedTuple):
    """The parameters of a callable, as its caller sees them.

    Attributes:
        by_keyword: The names that can be passed by keyword.
        required: The names of those without a default, positional-only ones included.
        any_keyword: Whether other keywords are taken as well (`**kwargs`).
        deferred: Whether a call runs nothing yet: of an `async def` function or a generator.
    """

    by_keyword: tuple[str, ...]
    required: tuple[str, ...]
    any_keyword: bool
    deferred: bool = False

    def take(self, *keywords: str) -> bool:
        """Return whether a call with these keywords, and nothing else, is possible."""
        known = self.any_keyword or set(keywords) <= set(self.by_keyword)
        return known and set(self.required) <= set(keywords)


def parameters_of(func: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names that can be passed by keyword; of a class those of its `__init__`.

    A wrapper made with `functools.wraps` has those of the function that it wraps.
    """
    target: Any = func
    if is_a(func, type):
        init: Any = func.__init__  # type: ignore[misc]
        if init is object.__init__:
            return ()
        target = MethodType(init, func)
    is_plain = type(target) in (FunctionType, MethodType) and not hasattr(target, "__wrapped__")
    if is_plain and not hasattr(target, "__signature__"):
        return _of_code(target).by_keyword
    found = _inspected(target, follow_wrapped=True)
    return () if found is None else found.by_keyword


def own_parameters(func: Callable[..., Any]) -> Parameters | None:
    """Return what a call of exactly this callable takes, or None where that cannot be told.

    A wrapper's own parameters count, not those of the function that it wraps: it may supply
    some of them itself.
    """
    if is_a(func, type):
        init: Any = func.__init__  # type: ignore[misc]
        new: Any = func.__new__
        if isinstance(init, FunctionType) and new is object.__new__:
            return _of_code(MethodType(init, func))
    elif type(func) in (FunctionType, MethodType) and isinstance(
        getattr(func, "__func__", func), FunctionType
    ):
        return _of_code(func)
    return _inspected(func, follow_wrapped=False)


def refuse_unknown(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that a call does not take.

    Args:
        where: What was called, as `StorageFile`.
        given: The names of the keyword arguments.
        known: The names that it takes, in the order in which they are to be listed.

    Raises:
        TypeError: One is unknown; says which was meant, or else which there are.
    """
    names = tuple(known)
    for name in given:
        if name not in names:
            raise TypeError(f"{where}() takes no argument {name!r}: {suggestion(name, names)}")


def strict_arguments(function: _Function) -> _Function:
    """Make a function or constructor refuse arguments that it does not take, before it runs.

    Python refuses them as well, but names neither the class nor the argument that was meant.
    The signature stays as it is, for editors, type checkers and `inspect.signature`.

    Raises:
        TypeError: An argument is unknown, or there are too many by position.
    """
    code = cast("Any", function).__code__
    positional: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    keywords: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    bound = int(positional[:1] == ("self",))
    known = keywords[max(bound, code.co_posonlyargcount) :]
    # A function with `*args` or `**kwargs` takes any, and looks at them itself.
    most = float("inf") if code.co_flags & _VAR_POSITIONAL else code.co_argcount
    names = None if code.co_flags & _VAR_KEYWORDS else frozenset(known)

    def where(args: tuple[Any, ...]) -> str:
        # A class that inherits its constructor is called by its own name.
        kind = type(args[0]) if bound and args else None
        named: Any = kind if getattr(kind, "__init__", None) is strict else function
        return str(named.__qualname__).rpartition("<locals>.")[2].removesuffix(".__init__")

    @wraps(function)
    def strict(*args: Any, **kwargs: Any) -> Any:
        if names is not None and not kwargs.keys() <= names:
            refuse_unknown(where(args), kwargs, known)
        if len(args) > most:
            raise TypeError(_too_many(where(args), positional[bound:], known, len(args) - bound))
        return function(*args, **kwargs)

    return cast("_Function", strict)


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return which of some names was meant by another, or else which there are."""
    if not known:
        return "it takes none"
    from difflib import get_close_matches  # noqa: PLC0415 - for this message alone

    begins = [each for each in known if each.startswith(name)]
    close = begins or get_close_matches(name, known, 1)
    return f"is {close[0]!r} meant?" if close else f"it takes {_listed(known)}"


def _too_many(where: str, positional: tuple[str, ...], known: tuple[str, ...], given: int) -> str:
    if not positional:
        takes = f"{where}() takes no positional argument, but got {given}"
    else:
        most = len(positional)
        plural = "s" if most > 1 else ""
        takes = (
            f"{where}() takes at most {most} positional argument{plural} "
            f"({_listed(positional)}), but got {given}"
        )
    by_name = [name for name in known if name not in positional]
    return f"{takes}: pass {_listed(by_name)} by name" if by_name else takes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _of_code(func: Any) -> Parameters:
    function = func.__func__ if isinstance(func, MethodType) else func
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    bound = 1 if isinstance(func, MethodType) else 0
    without_default = len(positional) - len(function.__defaults__ or ())
    defaults = function.__kwdefaults__ or {}
    return Parameters(
        by_keyword=positional[max(bound, code.co_posonlyargcount) :] + keyword_only,
        required=positional[bound : max(bound, without_default)]
        + tuple(name for name in keyword_only if name not in defaults),
        any_keyword=bool(code.co_flags & _VAR_KEYWORDS),
        deferred=bool(code.co_flags & _DEFERRED),
    )


def _inspected(func: Any, *, follow_wrapped: bool) -> Parameters | None:
    import inspect  # noqa: PLC0415 - only for callables that are no plain function

    try:
        signature = inspect.signature(func, follow_wrapped=follow_wrapped)
    except Exception:  # noqa: BLE001 - of what answers oddly, as of what has none
        return None
    kinds = inspect.Parameter
    named = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    parameters = signature.parameters.values()
    return Parameters(
        by_keyword=tuple(each.name for each in parameters if each.kind in named[1:]),
        required=tuple(
            each.name for each in parameters if each.kind in named and each.default is each.empty
        ),
        any_keyword=any(each.kind is kinds.VAR_KEYWORD for each in parameters),
        deferred=_is_deferred(func) or _is_deferred(defined_by(type(func), "__call__")),
    )


def _is_deferred(func: Any) -> bool:
    code = getattr(getattr(func, "func", func), "__code__", None)
    return type(code) is CodeType and bool(code.co_flags & _DEFERRED)


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
