"""Values that pickle wherever they go."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from dotflow.core.user_objects import escape_unencodable, exactly_text, guarded, name_of

__all__ = ["TEXT_LIMIT", "bounded", "escape_unencodable", "shown_address", "to_plain"]

_logger: Final = logging.getLogger("dotflow_otel")

# The variable that says how many characters a text of telemetry may have, and its default: a
# batch of failed tasks then fits into a request that a collector takes.
TEXT_LIMIT: Final = "DOTFLOW_TEXT_LIMIT"
_LIMIT: Final = 8192
_LEAST: Final = 100


_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})
_KINDS: Final[dict[type, Any]] = {str: str.__str__, int: int, float: float, bytes: bytes}

_SCHEME: Final = re.compile(r"^[A-Za-z][\w+.-]*://")
_AFTER_HOST: Final = re.compile(r"[/?#]")

# What is so short, of an address that is none, tells no secret.
_HARMLESS: Final = 8

# Deeper, and after so many, a value is replaced by its text: it may have no end.
_DEPTH: Final = 8
_MOST: Final = 1000


def to_plain(value: Any, depth: int = _DEPTH) -> Any:
    """Return a value that is made of plain ones: itself where it is, else its text.

    Lists, tuples and dictionaries are gone into; other containers are replaced by their text.
    """
    kind = type(value)
    if type(kind) is type and kind in _PLAIN:
        return value
    for base, bare in _KINDS.items():
        if issubclass(kind, base):
            return bare(value)  # a member of an enumeration, say
    items, _ = guarded(lambda: _items(value, depth))
    return _text(value) if items is None else items


def _items(value: Any, depth: int) -> Any:
    kind = type(value)
    is_small = depth > 0 and issubclass(kind, (list, tuple, Mapping)) and len(value) <= _MOST
    if not is_small:
        return None
    if issubclass(kind, (list, tuple)):
        items = [to_plain(each, depth - 1) for each in value]
        return items if issubclass(kind, list) else tuple(items)
    return {_text(key): to_plain(each, depth - 1) for key, each in value.items()}


def _text(value: Any) -> str:
    text, _ = guarded(lambda: str(value))
    return f"<{name_of(type(value))} without a text>" if text is None else exactly_text(text)


def shown_address(address: str) -> str:
    """Return as much of an address as a message may show: its scheme, host and port.

    Wherever the rest is cut, it may be a secret: a password, a token in the path or the query.
    """
    address = address.strip()
    found = _SCHEME.match(address)
    scheme = "" if found is None else found.group()
    user, at, place = address[len(scheme) :].rpartition("@")
    if at and ("?" in user or "#" in user):
        place = ""  # nobody knows whether that "@" ends a password or is in a query
    host = _AFTER_HOST.split(place)[0]
    path = place[len(host) :]
    if not scheme and len(path) <= _HARMLESS and not _AFTER_HOST.search(path[1:]):
        host = place  # as "http:/x", where it is the mistake
    return f"{scheme}{'...@' if at else ''}{host}"


def bounded(text: str) -> str:
    """Return a text that can be encoded, and is no longer than `DOTFLOW_TEXT_LIMIT` says.

    Of a longer one the beginning and the end are kept, with how much was cut between them: a
    stack trace ends with what went wrong.
    """
    limit = _limit()
    text = escape_unencodable(text)
    if len(text) <= limit:
        return text
    kept = limit - len(_cut(len(text)))
    first = kept - kept // 3
    last = len(text) - (kept - first)
    return f"{text[:first]}{_cut(last - first)}{text[last:]}"


def _cut(count: int) -> str:
    return f"... [{count} characters cut] ..."


def _limit() -> int:
    text = os.environ.get(TEXT_LIMIT, "").strip()
    if not text:
        return _LIMIT
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if limit < _LEAST:
        _warn_of_limit(text)
        return _LIMIT
    return limit


@cache
def _warn_of_limit(text: str) -> None:
    hint = f"give a whole number of characters, {_LEAST} or more"
    _logger.warning("%s=%r is not valid, so %d counts: %s", TEXT_LIMIT, text, _LIMIT, hint)
