"""What a callable takes, read without importing `inspect` where the code object tells all.

`inspect` takes as long to import as the whole of `import dotflow`, and nearly every step and
callback is a plain function.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.exception import NotCallableObject

if TYPE_CHECKING:
    from collections.abc import Callable

_VAR_KEYWORDS: Final = 0x08  # inspect.CO_VARKEYWORDS


class Parameters(NamedTuple):
    """The parameters of a callable, as its caller sees them.

    Attributes:
        by_keyword: The names that can be passed by keyword.
        required: The names of those without a default, positional-only ones included.
        any_keyword: Whether other keywords are taken as well (`**kwargs`).
    """

    by_keyword: tuple[str, ...]
    required: tuple[str, ...]
    any_keyword: bool

    def take(self, *keywords: str) -> bool:
        """Return whether a call with these keywords, and nothing else, is possible."""
        known = self.any_keyword or set(keywords) <= set(self.by_keyword)
        return known and set(self.required) <= set(keywords)


def parameters_of(func: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names that can be passed by keyword; of a class those of its `__init__`.

    A wrapper made with `functools.wraps` has those of the function that it wraps.
    """
    target: Any = func.__init__ if isinstance(func, type) else func  # type: ignore[misc]
    if target is object.__init__:
        return ()
    is_plain = isinstance(target, (FunctionType, MethodType)) and not hasattr(target, "__wrapped__")
    if is_plain and not hasattr(target, "__signature__"):
        return _of_code(target).by_keyword
    found = _inspected(target, follow_wrapped=True)
    return () if found is None else found.by_keyword


def own_parameters(func: Callable[..., Any]) -> Parameters | None:
    """Return what a call of exactly this callable takes, or None where that cannot be told.

    A wrapper's own parameters count, not those of the function that it wraps: it may supply
    some of them itself.
    """
    if isinstance(func, type):
        init: Any = func.__init__  # type: ignore[misc]
        new: Any = func.__new__
        if isinstance(init, FunctionType) and new is object.__new__:
            return _of_code(MethodType(init, func))
    elif isinstance(func, (FunctionType, MethodType)) and isinstance(
        getattr(func, "__func__", func), FunctionType
    ):
        return _of_code(func)
    return _inspected(func, follow_wrapped=False)


def check_callback(callback: object, keyword: str, given: str) -> None:
    """Check that a callback can be called with one keyword.

    Args:
        callback: The callback.
        keyword: The keyword.
        given: What was given as it, for the message.

    Raises:
        NotCallableObject: It cannot.
    """
    if not callable(callback):
        raise NotCallableObject(given, f"a callable that takes {keyword}=")
    takes = own_parameters(callback)
    if takes is not None and not takes.take(keyword):
        raise NotCallableObject(given, f"a callable that takes {keyword}= and needs nothing else")


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
    )


def _inspected(func: Any, *, follow_wrapped: bool) -> Parameters | None:
    import inspect  # noqa: PLC0415 - only for callables that are no plain function

    try:
        signature = inspect.signature(func, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError):
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
    )
