"""Forms of values that are the same in every process, for what JSON refuses.

Each form is what JSON takes: `{"$type": ..., "value": ...}` where JSON alone has none.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

from dotflow.core.context import Context
from dotflow.core.exception import UnstableInput

_TAG: Final = "$type"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# Of a longer integer Python refuses to make decimal digits.
_DECIMAL_BITS: Final = 1024


def stable_text(value: Any) -> str:
    """Return a text that is the same for equal values in every process.

    Raises:
        UnstableInput: The value has no such text: it contains itself, is too deep, or
            contains an object that can only be told by its address.
    """
    try:
        return _text(_StableEncoder().form(value))
    except RecursionError:
        raise UnstableInput(value) from None


def _text(form: Any) -> str:
    return json.dumps(form, sort_keys=True)


class _StableEncoder:
    """Makes forms, and knows what it is inside of."""

    def __init__(self) -> None:
        self._inside: set[int] = set()

    def form(self, value: Any) -> Any:
        if value is None or isinstance(value, str | float):
            return value
        if isinstance(value, int):
            short = value.bit_length() <= _DECIMAL_BITS
            return value if short else _tagged(value, hex(value))
        if id(value) in self._inside:
            raise UnstableInput(value)
        self._inside.add(id(value))
        try:
            return self._composite(value)
        finally:
            self._inside.discard(id(value))

    def _composite(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self.form(item) for item in value]
        for kinds, former in _FORMERS:
            if isinstance(value, kinds):
                return former(self, value)
        if is_dataclass(value) and not isinstance(value, type):
            return self._attributes(value, [field.name for field in fields(value)])
        if (buffer := _buffer(value)) is not None:
            return buffer
        return _repr(value)

    def mapping(self, value: Mapping[Any, Any]) -> Any:
        plain = isinstance(value, dict) and all(isinstance(key, str) for key in value)
        if plain and _TAG not in value:
            return {key: self.form(item) for key, item in value.items()}
        pairs = [[self.form(key), self.form(item)] for key, item in value.items()]
        return {_TAG: "mapping", "value": sorted(pairs, key=_text)}

    def set(self, value: AbstractSet[Any]) -> Any:
        return {_TAG: "set", "value": sorted((self.form(item) for item in value), key=_text)}

    def deque(self, value: deque[Any]) -> Any:
        return _tagged(value, [self.form(item) for item in value])

    def context(self, value: Context) -> Any:
        # Not its time, which differs in every run.
        return _tagged(value, [self.form(value.storage), value.task_id, str(value.workflow_id)])

    def namespace(self, value: SimpleNamespace) -> Any:
        return self._attributes(value, list(vars(value)))

    def _attributes(self, value: Any, names: list[str]) -> Any:
        return _tagged(value, {name: self.form(getattr(value, name, None)) for name in names})


_FORMERS: Final[tuple[tuple[Any, Callable[[_StableEncoder, Any], Any]], ...]] = (
    (Mapping, _StableEncoder.mapping),
    (AbstractSet, _StableEncoder.set),
    (Enum, lambda _, value: _tagged(value, value.name)),
    ((bytes, bytearray), lambda _, value: _tagged(value, value.hex())),
    ((date, time), lambda _, value: _tagged(value, [value.isoformat(), _fold(value)])),
    (timedelta, lambda _, value: _tagged(value, [value.days, value.seconds, value.microseconds])),
    ((Decimal, UUID, PurePath), lambda _, value: _tagged(value, str(value))),
    (Context, _StableEncoder.context),
    (deque, _StableEncoder.deque),
    (SimpleNamespace, _StableEncoder.namespace),
)


def _tagged(value: Any, form: Any) -> dict[str, Any]:
    # Not its module, which a script and an importer of it, or two Pythons, call differently.
    return {_TAG: type(value).__qualname__, "value": form}


def _fold(value: Any) -> int:
    return getattr(value, "fold", 0)


def _buffer(value: Any) -> Any:
    # Arrays and tables: their `repr` leaves out the middle.
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        if hasattr(type(value), "__array__"):
            raise UnstableInput(value) from None
        return None
    if "O" in view.format:  # Addresses of Python objects.
        raise UnstableInput(value)
    return _tagged(value, [view.format, list(view.shape or ()), sha256(view.tobytes()).hexdigest()])


def _repr(value: Any) -> str:
    """Return the `repr`, which must not be the inherited one nor carry an address."""
    inherited: Any = object.__repr__
    if type(value).__repr__ is inherited:
        raise UnstableInput(value)
    try:
        text = repr(value)
    except Exception as error:
        raise UnstableInput(value) from error
    if _ADDRESS.search(text) or f"{id(value):x}" in text.lower() or _shows_a_set(value, text):
        raise UnstableInput(value)
    return text


def _shows_a_set(value: Any, text: str) -> bool:
    # The order of a set's items in a `repr` differs from process to process.
    held = getattr(value, "__dict__", {}).values()
    sets = [item for item in held if isinstance(item, set | frozenset) and len(item) > 1]
    return any(repr(item) in text for item in sets)
