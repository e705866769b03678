"""Objects of users that do not like to be looked at: errors that steps raise, values they return.

A module of its own, which workers import: so its classes travel by reference.
"""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import MagicMock, Mock

from dotflow import Context, action

if TYPE_CHECKING:
    from collections.abc import Callable


class Halt(BaseException):
    """What is no `Exception`, and no interrupt either."""


class Markup(str):
    """A text of another type, which shows itself in its own way."""

    __slots__ = ()

    def __str__(self) -> str:
        raise Halt("the text of a text")

    def __eq__(self, other: object) -> bool:
        raise Halt("compared")

    __hash__ = str.__hash__


def raising(error: Callable[[], BaseException]) -> Any:
    """Return a method that raises, whatever it is asked."""

    def method(*_: Any, **__: Any) -> Any:
        raise error()

    return method


def with_methods(base: type, /, **methods: Any) -> Any:
    """Return a subclass with methods."""
    return type("Odd", (base,), methods)


# --- errors ---------------------------------------------------------------------------


class Strict(Exception):
    """Hands unknown attributes on to a dictionary."""

    def __init__(self, text: str, body: dict[str, Any]) -> None:
        super().__init__(text)
        self.body = body

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["body"][name]


class Lenient(Strict):
    """The same, with None for what is not there."""

    def __getattr__(self, name: str) -> Any:
        return self.__dict__.get("body", {}).get(name)


class Exits(Exception):
    """Whose unknown attributes end the program."""

    __getattr__ = raising(SystemExit)


class Closed(Exception):
    """None of whose attributes can be read."""

    __getattribute__ = raising(lambda: RuntimeError("closed"))


class Interrupts(Exception):
    """The same, and it interrupts who tries."""

    __getattribute__ = raising(KeyboardInterrupt)


class Silent(Exception):
    """Whose text raises."""

    __str__ = raising(lambda: ValueError("no text"))


class Leaves(Exception):
    """Whose text ends the program."""

    __str__ = raising(SystemExit)
    __repr__ = raising(SystemExit)


class CtrlC(Exception):
    """Whose text looks like a user who interrupts."""

    __str__ = raising(KeyboardInterrupt)
    __repr__ = raising(KeyboardInterrupt)


class NoText(Exception):
    """Whose text is none."""

    def __str__(self) -> Any:  # type: ignore[override] # that is what is odd about it
        return 7  # noqa: PLE0307 - likewise


class Marked(Exception):
    """Whose text is of another type."""

    def __str__(self) -> str:
        return Markup("<b>no</b>")


class Liar(Exception):
    """Which says that it is an interrupt."""

    __class__ = KeyboardInterrupt  # type: ignore[assignment]


class Nobody(Exception):
    """Which does not say what it is."""

    __class__ = property(raising(SystemExit))  # type: ignore[assignment]


class Incomparable(Exception):
    """Which cannot be compared, hashed or asked for its truth."""

    __eq__ = raising(Halt)
    __hash__ = raising(Halt)
    __bool__ = raising(Halt)
    __len__ = raising(Halt)


class Falsy(Exception):
    """Which is false."""

    def __bool__(self) -> bool:
        return False


class Demanding(Exception):
    """Which does not come out of a pickle: its constructor wants more."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class ExitsWhenPickled(Exception):
    """Which ends a program that pickles it."""

    __reduce_ex__ = raising(SystemExit)


class ExitsWhenRead(Exception):
    """Which ends a program that reads its pickle."""

    def __reduce__(self) -> Any:
        return sys.exit, (5,)


class Becomes(Exception):
    """Which comes out of a pickle as what is no error."""

    def __reduce__(self) -> Any:
        return dict, ()


class HiddenCause(Exception):
    """Whose cause and notes cannot be read."""

    __cause__ = property(raising(SystemExit))  # type: ignore[assignment]
    __notes__ = property(raising(SystemExit))  # type: ignore[assignment]


class HiddenTraceback(Exception):
    """Whose traceback cannot be read."""

    __traceback__ = property(raising(SystemExit))  # type: ignore[assignment]


class Frozen(Exception):
    """No attribute of which can be set."""

    __setattr__ = raising(lambda: TypeError("frozen"))
    __delattr__ = raising(lambda: TypeError("frozen"))


class Pretender(TimeoutError):
    """A timeout of the step's own, which answers to every name."""

    def __getattr__(self, name: str) -> Any:
        return 1.0


class OddKind(type):
    """A metaclass whose classes are as odd as their instances."""

    __eq__ = raising(Halt)
    __hash__ = raising(Halt)
    __getattribute__ = raising(Halt)


def _of_odd_kind() -> BaseException:
    kind: Any = type.__call__(OddKind, "OfOddKind", (Exception,), {})
    error: BaseException = kind("of an odd kind")
    return error


def _circular() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def _noted() -> BaseException:
    error = ValueError("noted")
    error.__notes__ = 7  # type: ignore[assignment]
    return error


def _renamed(name: Any, **attributes: Any) -> BaseException:
    kind = type(name, (Exception,), attributes)
    error: BaseException = kind("renamed")
    return error


def _holding(value: object) -> BaseException:
    error = ValueError("holding")
    error.held = value  # type: ignore[attr-defined]
    return error


class OddError(NamedTuple):
    """An error, and what is told of it.

    Attributes:
        make: Makes it.
        name: The name of its type.
        message: Its text; None: any.
    """

    make: Callable[[], BaseException]
    name: str
    message: str | None


ERRORS = {
    "strict": OddError(lambda: Strict("quota", {}), "Strict", "quota"),
    "lenient": OddError(lambda: Lenient("quota", {}), "Lenient", "quota"),
    "exits": OddError(lambda: Exits("e"), "Exits", "e"),
    "closed": OddError(lambda: Closed("c"), "Closed", "c"),
    "interrupts": OddError(lambda: Interrupts("i"), "Interrupts", "i"),
    "silent": OddError(Silent, "Silent", "<Silent whose text raises ValueError>"),
    "leaves": OddError(Leaves, "Leaves", "<Leaves whose text raises SystemExit>"),
    "ctrl-c": OddError(CtrlC, "CtrlC", "<CtrlC whose text raises KeyboardInterrupt>"),
    "no text": OddError(NoText, "NoText", "<NoText whose text raises TypeError>"),
    "marked": OddError(Marked, "Marked", "<b>no</b>"),
    "liar": OddError(lambda: Liar("l"), "Liar", "l"),
    "nobody": OddError(lambda: Nobody("n"), "Nobody", "n"),
    "incomparable": OddError(lambda: Incomparable("i"), "Incomparable", "i"),
    "falsy": OddError(lambda: Falsy("f"), "Falsy", "f"),
    "demanding": OddError(lambda: Demanding(4, reason="r"), "Demanding", "4: r"),
    "exits pickled": OddError(lambda: ExitsWhenPickled("p"), "ExitsWhenPickled", "p"),
    "exits read": OddError(lambda: ExitsWhenRead("r"), "ExitsWhenRead", "r"),
    "becomes": OddError(lambda: Becomes("b"), "Becomes", "b"),
    "hidden cause": OddError(lambda: HiddenCause("h"), "HiddenCause", "h"),
    "hidden traceback": OddError(lambda: HiddenTraceback("h"), "HiddenTraceback", "h"),
    "frozen": OddError(lambda: Frozen("f"), "Frozen", "f"),
    "pretender": OddError(lambda: Pretender("p"), "Pretender", "p"),
    "timeout": OddError(lambda: TimeoutError("own"), "TimeoutError", "own"),
    "of odd kind": OddError(_of_odd_kind, "OfOddKind", "of an odd kind"),
    "circular": OddError(_circular, "ValueError", "first"),
    "noted": OddError(_noted, "ValueError", "noted"),
    "group": OddError(lambda: ExceptionGroup("g", [Leaves(), Closed()]), "ExceptionGroup", None),
    "odd name": OddError(lambda: _renamed(Markup("Odd")), "Odd", "renamed"),
    "no module": OddError(lambda: _renamed("Lost", __module__=None), "Lost", "renamed"),
    "odd module": OddError(lambda: _renamed("Lost", __module__=Markup("m")), "Lost", "renamed"),
    "surrogate": OddError(lambda: ValueError("\udcff"), "ValueError", "\udcff"),
    "huge": OddError(lambda: ValueError("x" * 1_000_000), "ValueError", "x" * 1_000_000),
    "of a lock": OddError(lambda: _holding(threading.Lock()), "ValueError", "holding"),
    "of an exit": OddError(lambda: _holding(ReadExits()), "ValueError", "holding"),
    "halt": OddError(lambda: Halt("stop"), "Halt", "stop"),
    "generator exit": OddError(lambda: GeneratorExit("g"), "GeneratorExit", "g"),
    "stop iteration": OddError(lambda: StopIteration(3), "StopIteration", "3"),
    "of bytes": OddError(lambda: ValueError(b"\xff"), "ValueError", "b'\\xff'"),
}


# --- results --------------------------------------------------------------------------


class Evaluated(AssertionError):
    """A lazy object was evaluated."""


# Which lazy objects were evaluated in this process.
evaluated: list[str] = []


def _evaluate(self: object, *args: Any) -> Any:
    evaluated.append(f"{type(self)} {args}")
    raise Evaluated


class LocalProxy:
    """As of a web framework: stands for what is looked up each time, whatever it is asked."""

    __slots__ = ()
    __class__ = property(_evaluate)  # type: ignore[assignment]
    __getattr__ = __eq__ = __bool__ = __len__ = __iter__ = __await__ = __call__ = _evaluate
    __next__ = __aiter__ = __anext__ = __enter__ = __exit__ = __repr__ = __str__ = _evaluate
    __hash__ = _evaluate  # type: ignore[assignment]
    __await__ = property(_evaluate)


class SimpleLazyObject:
    """As of another: makes what it stands for at the first question."""

    def __init__(self) -> None:
        self.__dict__["_made"] = None

    __getattr__ = _evaluate
    __class__ = property(_evaluate)  # type: ignore[assignment]
    __bool__ = __eq__ = __str__ = __repr__ = _evaluate
    __hash__ = _evaluate  # type: ignore[assignment]


class ObjectProxy:
    """As of a library of wrappers: of the type of what it wraps, to who asks it."""

    def __init__(self, wrapped: object) -> None:
        self.wrapped = wrapped

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        evaluated.append("the class of an ObjectProxy")
        return type(self.wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["wrapped"], name)


class Array:
    """As of numbers: comparing it gives another one, of no truth."""

    def __eq__(self, other: object) -> Any:
        return Array()

    __hash__ = None  # type: ignore[assignment]
    __bool__ = raising(lambda: ValueError("ambiguous"))


class LazyAttributes:
    """An instance of a class whose attributes are evaluated when they are looked at."""

    lazy = SimpleLazyObject()
    local = LocalProxy()
    computed = property(_evaluate)


class ReadExits:
    """What ends a program that reads its pickle."""

    def __reduce__(self) -> Any:
        return sys.exit, (6,)


def _halt() -> None:
    raise Halt("read")


class ReadHalts:
    """What raises a `BaseException` where its pickle is read."""

    def __reduce__(self) -> Any:
        return _halt, ()


def _interrupt() -> None:
    raise KeyboardInterrupt


class ReadInterrupts:
    """What looks, where its pickle is read, like a user who interrupts."""

    def __reduce__(self) -> Any:
        return _interrupt, ()


class OfOddKind(metaclass=OddKind):
    """An instance of an odd class."""


class HiddenList(list[Any]):
    """A list that shows nothing."""

    __iter__ = __len__ = __repr__ = __str__ = raising(Halt)


class HiddenDict(dict[Any, Any]):
    """A dictionary that shows nothing."""

    __iter__ = items = keys = __len__ = __repr__ = __str__ = raising(Halt)


def _itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _nested() -> Any:
    value: Any = 1
    for _ in range(5_000):
        value = Context([value])
    return value


def _context_of_itself() -> Any:
    items: list[Any] = []
    items.append(Context(items))
    return items


def odd(**methods: Any) -> Any:
    """Return an object with methods."""
    return with_methods(object, **methods)()


class OddResult(NamedTuple):
    """A value.

    Attributes:
        make: Makes it.
        travels: Whether it comes back from another process.
        raises: The name of what it raises where it is run, because it is an iterator.
    """

    make: Callable[[], Any]
    travels: bool
    raises: str = ""


RESULTS = {
    "local proxy": OddResult(LocalProxy, travels=False),
    "simple lazy object": OddResult(SimpleLazyObject, travels=False),
    "proxy of a context": OddResult(lambda: ObjectProxy(Context(1)), travels=False),
    "proxy of a list": OddResult(lambda: ObjectProxy([1]), travels=False),
    "proxy of an action": OddResult(lambda: ObjectProxy(return_it), travels=False),
    "array": OddResult(Array, travels=True),
    "arrays": OddResult(lambda: [Array(), (Array(),)], travels=True),
    "mock": OddResult(Mock, travels=True),
    "magic mock": OddResult(MagicMock, travels=True),
    "lazy attributes": OddResult(LazyAttributes, travels=True),
    "getattr": OddResult(lambda: odd(__getattr__=raising(SystemExit)), travels=True),
    "getattribute": OddResult(lambda: odd(__getattribute__=raising(Halt)), travels=False),
    "class": OddResult(lambda: odd(__class__=property(raising(Halt))), travels=False),
    "eq": OddResult(lambda: odd(__eq__=raising(Halt), __hash__=raising(Halt)), travels=True),
    "bool": OddResult(lambda: odd(__bool__=raising(Halt), __len__=raising(Halt)), travels=True),
    "text": OddResult(lambda: odd(__str__=raising(Halt), __repr__=raising(Halt)), travels=True),
    "exit text": OddResult(lambda: odd(__repr__=raising(SystemExit)), travels=True),
    "ctrl-c text": OddResult(lambda: odd(__repr__=raising(KeyboardInterrupt)), travels=True),
    "reduce": OddResult(lambda: odd(__reduce_ex__=raising(SystemExit)), travels=False),
    "reduce halt": OddResult(lambda: odd(__reduce_ex__=raising(KeyboardInterrupt)), travels=False),
    "setattr": OddResult(lambda: odd(__setattr__=raising(Halt)), travels=True),
    "iter": OddResult(lambda: odd(__iter__=raising(Halt), __next__=raising(Halt)), True, "Halt"),
    "read exits": OddResult(ReadExits, travels=False),
    "read halts": OddResult(ReadHalts, travels=False),
    "read interrupts": OddResult(ReadInterrupts, travels=False),
    "among others": OddResult(lambda: [1, odd(__str__=raising(SystemExit)), "x"], travels=True),
    "in a dictionary": OddResult(lambda: {"k": odd(__repr__=raising(Halt))}, travels=True),
    "of an odd kind": OddResult(OfOddKind, travels=False),
    "an odd kind": OddResult(lambda: OfOddKind, travels=False),
    "hidden list": OddResult(lambda: HiddenList([1]), travels=False),
    "hidden dictionary": OddResult(lambda: HiddenDict(a=1), travels=False),
    "text of another type": OddResult(lambda: Markup("m"), travels=True),
    "huge text": OddResult(lambda: odd(__repr__=lambda _: "x" * 1_000_000), travels=True),
    "huge number": OddResult(lambda: 10**10_000, travels=True),
    "surrogate": OddResult(lambda: "\udcff", travels=True),
    "itself": OddResult(_itself, travels=True),
    "nested": OddResult(_nested, travels=False),
    "context of itself": OddResult(_context_of_itself, travels=True),
    "error": OddResult(lambda: Strict("returned", {}), travels=False),
    "lock": OddResult(threading.Lock, travels=False),
    "module": OddResult(lambda: sys, travels=True),
    "namespace": OddResult(lambda: SimpleNamespace(storage=1, task_id=[]), travels=True),
    "not implemented": OddResult(lambda: NotImplemented, travels=True),
    "iterator": OddResult(lambda: iter([1]), travels=True),
}


@action
def raise_it(initial_context: Context) -> None:
    """Raise the error of this name."""
    raise ERRORS[initial_context.storage].make()


@action
def return_it(initial_context: Context) -> Any:
    """Return the result of this name."""
    return RESULTS[initial_context.storage].make()


@action(timeout=60)
async def raise_it_late(initial_context: Context) -> None:
    """Raise the error of this name in a coroutine that has a limit."""
    raise ERRORS[initial_context.storage].make()


@action(timeout=60)
async def return_it_late(initial_context: Context) -> Any:
    """Return the result of this name from a coroutine that has a limit."""
    return RESULTS[initial_context.storage].make()


@action
def take_it(initial_context: Context) -> str:
    """Take what was given, and look at nothing but its type."""
    return type.__dict__["__name__"].__get__(type(initial_context.storage))


@action
def sibling() -> str:
    """Return what is like any value."""
    return "fine"
