"""What can be said of users' objects, whatever those do, in texts that whoever gets them can take.

An exception, a result or a message is code of the user's: its `__str__` may exit, its `__class__`
lie, its `__getattr__` answer to any name. So what dotflow asks of such an object is asked here,
and its type is `type(value)`; `isinstance` is not used, because it believes `__class__`. Texts are
encodable and of a bounded length.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import cache
from math import isfinite, isnan
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import TextIO


_T = TypeVar("_T")

# Values of these types are what most steps return. None of them runs code of the user's, has
# actions, or is still to be run.
PLAIN: Final = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set}
    | {frozenset}
)

# How much of a value an error shows, in characters.
_LONGEST: Final = 200

_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE

# Past the attributes of a metaclass, which may be anything as well.
_name: Final = type.__dict__["__name__"].__get__
_qualname: Final = type.__dict__["__qualname__"].__get__
_module: Final = type.__dict__["__module__"].__get__
_flags: Final = type.__dict__["__flags__"].__get__
_traceback: Final = BaseException.__dict__["__traceback__"].__get__

# Return the types that an object's attributes are looked for in, and the attributes of one.
mro_of: Final[Callable[[type], tuple[type, ...]]] = type.__dict__["__mro__"].__get__
namespace_of: Final[Callable[[type], Mapping[str, Any]]] = type.__dict__["__dict__"].__get__


def guarded(call: Callable[[], _T]) -> tuple[_T | None, BaseException | None]:
    """Make a call that runs code of a user's object.

    Returns:
        What it returned, and None; or None, and what it raised, be that `SystemExit`.

    Raises:
        BaseException: What did not come from the object: the `KeyboardInterrupt` of Ctrl-C, or
            what a handler of a signal raised. To find out where what is no `Exception` came
            from, the call is made again in a thread, which no signal interrupts: the object
            raises again.
    """
    try:
        return call(), None
    except Exception as error:  # noqa: BLE001 - returned
        return None, error
    except BaseException as error:
        if not _raises_again(call, type(error)):
            raise
        return None, error


def _raises_again(call: Callable[[], object], kind: type[BaseException]) -> bool:
    raised: list[type[BaseException]] = []

    def noted() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - compared
            raised.append(type(error))

    # A second Ctrl-C comes out of this as it is: it is not the object's either.
    _call_uninterrupted(noted)
    return kind in raised


def _call_uninterrupted(call: Callable[[], object]) -> None:
    # Signals interrupt the main thread alone. A handler that is set for a while would be left
    # set where another interrupt comes before it is set back.
    if current_thread() is not main_thread():
        call()
        return
    other = Thread(target=copy_context().run, args=(call,), name="dotflow-again", daemon=True)
    try:
        other.start()
    except RuntimeError:  # there are no more threads, as at the interpreter's exit
        call()
    else:
        other.join()


def is_plain(value: object) -> bool:
    """Return whether a value is of one of the types `PLAIN`."""
    kind = type(value)
    # A class's own metaclass may have any idea of being in a set.
    return type(kind) is type and kind in PLAIN


def is_a(value: object, kind: type[_T]) -> TypeGuard[_T]:
    """Return whether a value is of a type or one derived from it, whatever its `__class__` says."""
    return issubclass(type(value), kind)


def attribute_of(value: object, name: str, default: Any = None) -> Any:
    """Return an attribute, or the default where there is none or looking for it raises."""
    found, error = guarded(lambda: getattr(value, name, default))
    return found if error is None else default


def defined_by(kind: type, name: str) -> Any:
    """Return what a type or a base of it has under a name; None where none has it."""
    for owner in mro_of(kind):
        namespace = namespace_of(owner)
        if name in namespace:
            return namespace[name]
    return None


def is_written_in_c(kind: type) -> bool:
    """Return whether a type is a static one of C, whose attributes nobody can set."""
    return not _flags(kind) & _HEAP_TYPE


def name_of(kind: type) -> str:
    """Return the name of a type."""
    return exactly_text(_name(kind))


def full_name_of(kind: type) -> str:
    """Return the qualified name of a type with its module's, where that has one."""
    name = exactly_text(_qualname(kind))
    module, _ = guarded(lambda: _module(kind))
    return f"{exactly_text(module)}.{name}" if is_a(module, str) else name


def qualified_name_of(kind: type) -> str:
    """Return the qualified name of a type with its module's, but for a built-in one."""
    return full_name_of(kind).removeprefix("builtins.")


def exactly_text(text: str) -> str:
    """Return a text as one of type `str` itself: one of a subclass has code of its own."""
    return text if type(text) is str else str.__str__(text)


def text_of(value: object) -> str:
    """Return `str(value)`, also where that raises."""
    text, error = guarded(lambda: str(value))
    if text is None:
        return f"<{name_of(type(value))} whose text raises {name_of(type(error))}>"
    return exactly_text(text)


def repr_of(value: object, show: Callable[[object], str] = repr) -> str:
    """Return `repr(value)`, or what another function shows, shortened, also where that raises."""
    text = whole_repr_of(value, show)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def whole_repr_of(value: object, show: Callable[[object], str] = repr) -> str:
    """Return `repr(value)`, or what another function shows; without them, type and address."""
    text, _ = guarded(lambda: show(value))
    return object.__repr__(value) if text is None else exactly_text(text)


def traceback_of(error: BaseException) -> str:
    """Format an exception's traceback, without dotflow's own frames above the step's."""
    from traceback import format_exception, format_tb  # noqa: PLC0415 - where something failed

    step = _step_in(_traceback(error))
    text, _ = guarded(lambda: "".join(format_exception(type(error), error, step)))
    if text is None:  # its causes or notes cannot be read
        frames, _ = guarded(lambda: "".join(format_tb(step)))
        head = f"Traceback (most recent call last):\n{frames}" if frames else ""
        text = f"{head}{qualified_name_of(type(error))}: {text_of(error)}\n"
    return text


def _step_in(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and _is_own(traceback.tb_frame.f_globals):
        traceback = traceback.tb_next
    return traceback


def _is_own(module: dict[str, object]) -> bool:
    name = dict.get(module, "__name__")
    return type(name) is str and name.startswith(("dotflow.core.", "dotflow.workers."))


class Unreadable(Exception):
    """Stands for an exception that cannot be formatted, in a log record."""


def exc_info_of(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return the `exc_info` of a log record, which any handler can format."""
    from traceback import format_exception  # noqa: PLC0415 - where something failed

    traceback = _traceback(error)
    _, broken = guarded(lambda: (str(error), format_exception(type(error), error, traceback)))
    if broken is not None:
        error = Unreadable(f"{qualified_name_of(type(error))}: {text_of(error)}")
    return type(error), error, traceback


# Deeper values are told by their text: they may have no end.
_DEPTH: Final = 50

# As the encoder writes them where they are keys.
_CONSTANTS: Final = {None: "null", True: "true", False: "false"}


def strict_json(fields: Mapping[str, Any]) -> str:
    """Return an object as JSON text that every parser reads, whatever its values are.

    What JSON has no form for is told by its text: objects, keys that are none, what contains
    itself, `NaN`, `Infinity` and `-Infinity`; half of a character is escaped.
    """
    text, _ = guarded(lambda: _encode()(fields))
    # A surrogate is half of a character where it is not one of a pair, as in most texts it is.
    if text is None or "\\ud" in text:
        text = _encode()(to_json(fields))
    return text


@cache
def _encode() -> Callable[[object], str]:
    # Here, because `import dotflow` does without it; once, because making one takes long.
    from json import JSONEncoder  # noqa: PLC0415

    return JSONEncoder(default=text_of, allow_nan=False).encode


def is_json(value: object) -> bool:
    """Return whether the usual encoder makes strict JSON of a value."""
    text, _ = guarded(lambda: _strictly()(value))
    return text is not None and "\\ud" not in text


@cache
def _strictly() -> Callable[[object], str]:
    from json import JSONEncoder  # noqa: PLC0415 - as above

    return JSONEncoder(allow_nan=False).encode


def to_json(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Return a value that is made of what JSON has a form for: see `strict_json`.

    Args:
        value: Anything.
        inside: The ids of what it is inside of.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return escape_unencodable(str.__str__(value))
    if issubclass(kind, float):
        return _to_number(float.__float__(value))
    if issubclass(kind, int):
        # Of a very long one Python refuses to make decimal digits.
        number = int.__int__(value)
        return number if guarded(lambda: str(number))[0] is not None else hex(number)
    if issubclass(kind, (list, tuple, dict)):
        return _container_to_json(value, inside)
    return escape_unencodable(text_of(value))


def _container_to_json(value: Any, inside: tuple[int, ...]) -> Any:
    if id(value) in inside:
        return "{...}" if issubclass(type(value), dict) else "[...]"
    items = None
    if len(inside) < _DEPTH:
        items, _ = guarded(lambda: _items_to_json(value, (*inside, id(value))))
    return f"<{name_of(type(value))}>" if items is None else items


def _to_number(value: float) -> float | str:
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _items_to_json(value: Any, inside: tuple[int, ...]) -> Any:
    if issubclass(type(value), dict):
        return {_to_key(key): to_json(each, inside) for key, each in value.items()}
    return [to_json(each, inside) for each in value]


def _to_key(key: Any) -> str:
    if key is None or type(key) is bool:
        return _CONSTANTS[key]
    return escape_unencodable(text_of(key))


def escape_unencodable(text: str) -> str:
    """Return a text that can be encoded: itself, or one in which what cannot is escaped.

    Names of files that are no UTF-8 have lone surrogates, for which backends refuse all
    that is sent along with them.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def write_text(stream: TextIO, text: str) -> None:
    """Write a text to a stream, and what its encoding lacks escaped."""
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        escaped = text.encode(error.encoding, "backslashreplace")
        stream.write(escaped.decode(error.encoding))
