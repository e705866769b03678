"""What a callable takes, and the refusal of what it does not.

Read without importing `inspect` where the code object has it all: that takes as long to import as
the whole of `import dotflow`, and nearly every step and callback is a plain function.
"""

from __future__ import annotations

from functools import wraps
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

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
