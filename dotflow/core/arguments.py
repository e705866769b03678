"""Arguments that a call does not take: refused by a message that names the right one."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_Function = TypeVar("_Function", bound="Callable[..., Any]")

# The bits of a code object's flags for `*args` and `**kwargs`; `inspect` is slow to import.
_VARARGS: Final = 0x04
_VARKEYWORDS: Final = 0x08


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
    """Have a function or constructor refuse arguments that it does not take, before it runs.

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
    most = float("inf") if code.co_flags & _VARARGS else code.co_argcount
    names = None if code.co_flags & _VARKEYWORDS else frozenset(known)

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
