"""The document that a storage keeps for a key, and what such storages have in common.

A document is one JSON object, versioned. Its first line is all but the value, so that a listing
need not read the values. That line ends with two checksums, one of what stands before them and one
of what comes after the line, so that a damaged document is never taken for another value. Who edits
a document by hand leaves the field `crc32` out.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from dotflow.core.arguments import check_seconds, check_text
from dotflow.core.context import Context
from dotflow.core.exception import InvalidOption, StorageError
from dotflow.providers.storage_codec import decode, encode, encode_time, refused_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a step returned may be secret: of a value that is none of these only the type is shown.


def check_key(key: object) -> None:
    """Check the key of a context."""
    if not isinstance(key, str):
        raise InvalidOption("key", type(key), "give a text")


def check_context(option: str, context: object) -> None:
    """Check a context that is to be stored, or compared with one."""
    if not isinstance(context, Context):
        raise InvalidOption(option, type(context), "give a Context, as Context(storage=...)")


def new_document(
    key: str, context: Context, ttl: float | None, fingerprint: str | None
) -> tuple[Header, bytes]:
    """Check the arguments of `Storage.post`, and return the document to keep, with its header.

    Raises:
        InvalidOption: An argument is of a wrong type, or the ttl is negative.
        StorageError: The value is of a type that cannot be kept.
    """
    check_key(key)
    check_context("context", context)
    check_seconds("ttl", ttl, optional=True, zero=True)
    check_text("fingerprint", fingerprint, optional=True, blank=True)
    header = Header(key, None if ttl is None else time.time() + ttl, fingerprint)
    return header, dump(header, context)


def read_document(
    key: str, document: bytes, place: object, now: float
) -> tuple[Header, Context] | None:
    """Return what a document says of a key; None where it has expired by now.

    Args:
        key: The key.
        document: What is there.
        place: The file or row that it is in.
        now: Seconds since the epoch.

    Raises:
        StorageError: It is corrupt, or that of another key; names the place.
        RecursionError: It is nested too deeply for what is left of the stack; names the place.
    """
    try:
        header, context = load(document)
    except StorageError as error:
        raise unreadable(place, error) from error
    except RecursionError as error:
        # Maybe no fault of the document's: its reader may be deep in recursion.
        raise RecursionError(f"Cannot read {place}: {error}") from error
    if header.key != key:
        raise StorageError(f"{place} belongs to the key {header.key!r}, not {key!r}. Remove it.")
    return (header, context) if header.live(now) else None


def unreadable(place: object, error: Exception) -> StorageError:
    """Return the error of a file or row that cannot be read, and what to do about it."""
    return StorageError(
        f"Cannot read {place}: {error}. Restore it, or remove it to run that step again."
    )


def matches(current: Context | None, expected: Context | None) -> bool:
    """Return whether the value there, None where nothing is, is the one that a swap expects."""
    if current is None or expected is None:
        return current is None and (expected is None or expected.storage is None)
    there, wanted = current.storage, expected.storage
    # NaN and contexts equal nothing, but their forms do.
    return bool(there == wanted) or encode(there) == encode(wanted)


VERSION: Final = 1

_FIELDS: Final = frozenset(
    ("dotflow", "key", "expires", "fingerprint", "task_id", "workflow_id", "time", "value")
)
# Those that an edit by hand could make anything of.
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "key": (str,),
    "expires": (type(None), int, float),
    "fingerprint": (type(None), str),
    "time": (datetime,),
}
_SEALED: Final = re.compile(rb'(.*), "crc32": "([0-9a-f]{8}) ([0-9a-f]{8})",')
_DAMAGED: Final = "its checksum is wrong, so it was damaged, or edited without removing crc32"


class Header(NamedTuple):
    """What is known of a document without its value.

    Attributes:
        key: The key, in full.
        expires: Seconds since the epoch, or None.
        fingerprint: The mark stored beside the value.
    """

    key: str
    expires: float | None
    fingerprint: str | None

    def live(self, now: float) -> bool:
        """Return whether the document still counts."""
        return self.expires is None or now < self.expires


def dump(header: Header, context: Context) -> bytes:
    """Write a document.

    Raises:
        StorageError: The value cannot be kept; names the type, its place and the key.
    """
    try:
        head, value = _texts(header, context)
    except StorageError as error:
        place = refused_place(context.storage)
        where = f", for its value{place}" if place else ""
        raise StorageError(
            f"Cannot store the value under {header.key!r}{where}: {error}."
        ) from None
    except RecursionError:
        raise StorageError(
            f"Cannot store the {type(context.storage).__qualname__} under {header.key!r}: "
            "it is nested too deeply, or contains itself."
        ) from None
    begin, rest = head[:-1].encode(), f'"value": {value}}}\n'.encode()
    return b'%b, "crc32": "%08x %08x",\n%b' % (begin, crc32(begin), crc32(rest), rest)


def load(document: bytes) -> tuple[Header, Context]:
    """Read a document.

    Raises:
        StorageError: It is not one, was damaged, or is of another version.
        RecursionError: It is nested too deeply for what is left of the stack.
    """
    line, _, rest = document.partition(b"\n")
    checksum = _checksum_of_value(line)
    if checksum is not None and int(checksum, 16) != crc32(rest):
        raise StorageError(_DAMAGED)
    with _reading():
        fields = json.loads(document, object_hook=decode)
        header = _header(fields)
        if checksum is None and fields.keys() != _FIELDS:
            # Not laid out as `dump` does it, so the checksums cannot be checked.
            raise StorageError(_DAMAGED if "crc32" in fields else "it has other fields")
        context = Context(fields["value"], fields["task_id"], fields["workflow_id"])
        context.time = fields["time"]
        return header, context


def peek(file: Path) -> Header:
    """Read the header of a document, and its value only where it was edited by hand.

    Raises:
        StorageError: It is not a document, was damaged there, or is of another version.
        OSError: It cannot be read.
    """
    with file.open("rb") as lines:
        first = lines.readline()
        try:
            return _first_line(first)
        except StorageError:
            return load(first + lines.read())[0]


def peek_at(head: bytes) -> Header:
    """Read the header from the beginning of a document.

    Raises:
        StorageError: Its first line is not there as a whole, or no header.
    """
    line, end, _ = head.partition(b"\n")
    if not end:
        raise StorageError("the first line goes on")
    return _first_line(line)


def _first_line(line: bytes) -> Header:
    line = line.rstrip()
    if _checksum_of_value(line) is None:
        raise StorageError("it was edited by hand")
    with _reading():
        return _header(json.loads(line[:-1] + b"}", object_hook=decode))


def _checksum_of_value(line: bytes) -> bytes | None:
    """Check a first line, and return what it says of the rest; None where it has no checksums."""
    sealed = _SEALED.fullmatch(line)
    if sealed is None:
        return None
    begin, own, of_value = sealed.groups()
    if int(own, 16) != crc32(begin):
        raise StorageError(_DAMAGED)
    return of_value


def _texts(header: Header, context: Context) -> tuple[str, str]:
    head = {
        "dotflow": VERSION,
        "key": encode(header.key),
        "expires": encode(header.expires),
        "fingerprint": encode(header.fingerprint),
        "task_id": encode(context.task_id),
        "workflow_id": encode(context.workflow_id),
        "time": encode_time(context.time),
    }
    return json.dumps(head), json.dumps(encode(context.storage))


def _header(fields: dict[str, Any]) -> Header:
    if fields["dotflow"] != VERSION:
        raise ValueError(f"version {fields['dotflow']!r}, this dotflow reads {VERSION}")
    for name, kinds in _KINDS.items():
        value = fields[name]
        if type(value) not in kinds:
            raise ValueError(f"its {name} is of the type {type(value).__name__}")
        if value != value:  # noqa: PLR0124 - NaN, which no time is earlier or later than
            raise ValueError(f"its {name} is NaN")
    return Header(fields["key"], fields["expires"], fields["fingerprint"])


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (RecursionError, MemoryError, StorageError):
        raise
    except Exception as error:  # whatever a rebuilt value's type raises, the text is bad
        raise StorageError(f"not a document of dotflow: {type(error).__name__}: {error}") from error
