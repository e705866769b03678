"""Values as JSON, each coming back as exactly what it was, or refused; and the document of a key.

What JSON would change carries a tag: `{"$type": "tuple", "value": [1, 2]}`. A value is
recognised by its exact type: of a subclass JSON would keep the base only, so it is refused.
"""

from __future__ import annotations

import json
import math
from binascii import a2b_base64, b2a_base64
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from dotflow.core.context import Context
from dotflow.core.exception import StorageError
from dotflow.core.user_objects import full_name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import tzinfo


TAG: Final = "$type"

# Python refuses to read decimal numbers of more digits than a limit that can be set
# as low as 640; hexadecimal ones have no limit.
_DECIMAL_BITS: Final = 1024


def encode(value: Any) -> Any:
    """Return the form of a value that `json.dumps` writes without loss.

    Raises:
        StorageError: The value, or one inside it, is of a type that cannot be kept.
    """
    kind = type(value)
    # A metaclass may make its classes unhashable; none of those here has one.
    encoder = _ENCODERS.get(kind) if type(kind) is type else None
    if encoder is None:
        raise StorageError(
            f"a {full_name_of(kind)} cannot be kept as JSON; "
            f"return one of: {', '.join(sorted(_names()))}"
        )
    return encoder(value)


def refused_place(value: Any) -> str:
    """Return where inside a value that `encode` refuses the refused part is; empty: all of it.

    As code would get at it, by numbers alone: what the keys are may be secret.
    """
    for place, part in _parts(value):
        try:
            encode(part)
        except StorageError:
            return place + refused_place(part)
    return ""


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    kind = type(value)
    if kind is list or kind is tuple:
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    elif kind is dict:
        for number, (key, part) in enumerate(value.items()):
            yield f".keys()[{number}]", key
            yield f".values()[{number}]", part
    elif kind is set or kind is frozenset:
        yield from (("{...}", part) for part in value)
    elif kind is Context:
        yield ".storage", value.storage


def decode(form: dict[str, Any]) -> Any:
    """Turn a tagged form back into its value: the `object_hook` of `json.loads`."""
    if TAG not in form:
        return form
    return _DECODERS[form[TAG]](form["value"])


def _names() -> Iterable[str]:
    return (kind.__name__ for kind in _ENCODERS)


def _tagged(name: str, value: Any) -> dict[str, Any]:
    return {TAG: name, "value": value}


def _same(value: Any) -> Any:
    return value


def _encode_str(value: str) -> Any:
    if value.isascii() or not _has_surrogate(value):
        return value
    # JSON would join two lone surrogates into one character.
    return _tagged("str", value.encode("utf-32-le", "surrogatepass").hex())


def _has_surrogate(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _encode_int(value: int) -> Any:
    return value if value.bit_length() <= _DECIMAL_BITS else _tagged("int", hex(value))


def _encode_float(value: float) -> Any:
    return value if math.isfinite(value) else _tagged("float", repr(value))


def _encode_list(value: list[Any]) -> Any:
    return [encode(item) for item in value]


def _encode_dict(value: dict[Any, Any]) -> Any:
    if all(type(key) is str and key != TAG and not _has_surrogate(key) for key in value):
        return {key: encode(item) for key, item in value.items()}
    return _tagged("dict", [[encode(key), encode(item)] for key, item in value.items()])


def _encode_set(value: set[Any] | frozenset[Any]) -> Any:
    # Sorted, so that the same set gives the same document in every process.
    return sorted((encode(item) for item in value), key=json.dumps)


def _encode_complex(value: complex) -> Any:
    return [encode(value.real), encode(value.imag)]


def _encode_bytes(value: bytes | bytearray) -> Any:
    return b2a_base64(value, newline=False).decode()


def encode_time(value: datetime) -> Any:
    """Return the form of a context's time, which may be of a subclass that a test put there."""
    return _tagged("datetime", _encode_moment(value))


def _encode_moment(value: datetime | time) -> Any:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return [naive, value.fold, _encode_zone(value.tzinfo)]


def _decode_moment(kind: type[datetime | time], form: list[Any]) -> Any:
    naive, fold, zone = form
    return kind.fromisoformat(naive).replace(fold=fold, tzinfo=_decode_zone(zone))


def _encode_zone(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is timezone:
        name = zone.tzname(None)
        offset = zone.utcoffset(None)
        return [encode(offset), None if timezone(offset).tzname(None) == name else encode(name)]
    key = getattr(zone, "key", None)
    if type(zone).__module__ != "zoneinfo" or key is None:
        raise StorageError(f"a time zone of {type(zone).__qualname__} cannot be kept as JSON")
    return key


def _decode_zone(form: Any) -> tzinfo | None:
    if form is None:
        return None
    if isinstance(form, list):
        offset, name = form
        return timezone(offset) if name is None else timezone(offset, name)
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - rare, and slow to import

    return ZoneInfo(form)


def _encode_timedelta(value: timedelta) -> Any:
    return [value.days, value.seconds, value.microseconds]


def _encode_context(value: Context) -> Any:
    ids = (encode(value.task_id), encode(value.workflow_id))
    return [encode(value.storage), *ids, encode_time(value.time)]


def _decode_context(form: list[Any]) -> Context:
    storage, task_id, workflow_id, made = form
    context = Context(storage=storage, task_id=task_id, workflow_id=workflow_id)
    context.time = made
    return context


def _tagging(name: str, encoder: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: _tagged(name, encoder(value))


_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    type(None): _same,
    bool: _same,
    str: _encode_str,
    int: _encode_int,
    float: _encode_float,
    list: _encode_list,
    dict: _encode_dict,
    tuple: _tagging("tuple", _encode_list),
    set: _tagging("set", _encode_set),
    frozenset: _tagging("frozenset", _encode_set),
    complex: _tagging("complex", _encode_complex),
    bytes: _tagging("bytes", _encode_bytes),
    bytearray: _tagging("bytearray", _encode_bytes),
    datetime: encode_time,
    date: _tagging("date", date.isoformat),
    time: _tagging("time", _encode_moment),
    timedelta: _tagging("timedelta", _encode_timedelta),
    Decimal: _tagging("Decimal", str),
    UUID: _tagging("UUID", str),
    type(Path()): _tagging("Path", lambda path: encode(str(path))),
    Context: _tagging("Context", _encode_context),
}

_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "str": lambda form: bytes.fromhex(form).decode("utf-32-le", "surrogatepass"),
    "int": lambda form: int(form, 16),
    "float": float,
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "complex": lambda form: complex(*form),
    "bytes": a2b_base64,
    "bytearray": lambda form: bytearray(a2b_base64(form)),
    "datetime": lambda form: _decode_moment(datetime, form),
    "date": date.fromisoformat,
    "time": lambda form: _decode_moment(time, form),
    "timedelta": lambda form: timedelta(*form),
    "Decimal": Decimal,
    "UUID": UUID,
    "Path": Path,
    "Context": _decode_context,
}
