"""The document that a storage keeps for a key: one JSON object, versioned.

Its first line is all but the value, so that a listing need not read the values.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.context import Context
from dotflow.core.exception import StorageError
from dotflow.providers.storage_codec import decode, encode, encode_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION: Final = 1


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
        StorageError: The value cannot be kept; names its type and the key.
    """
    try:
        head, value = _texts(header, context)
    except StorageError as error:
        raise StorageError(f"Cannot store the value under {header.key!r}: {error}.") from None
    except RecursionError:
        raise StorageError(
            f"Cannot store the {type(context.storage).__qualname__} under {header.key!r}: "
            "it is nested too deeply, or contains itself."
        ) from None
    return f'{head[:-1]},\n"value": {value}}}\n'.encode()


def load(document: bytes) -> tuple[Header, Context]:
    """Read a document.

    Raises:
        StorageError: It is not one, or of another version.
    """
    with _reading():
        fields = json.loads(document, object_hook=decode)
        header = _header(fields)
        context = Context(fields["value"], fields["task_id"], fields["workflow_id"])
        context.time = fields["time"]
        return header, context


def peek(file: Path) -> Header:
    """Read the header of a document, and its value only where it was reformatted by hand.

    Raises:
        StorageError: It is not a document, or of another version.
        OSError: It cannot be read.
    """
    with file.open("rb") as lines:
        first = lines.readline()
        try:
            return _first_line(first)
        except StorageError:
            return load(first + lines.read())[0]


def _first_line(line: bytes) -> Header:
    with _reading():
        return _header(json.loads(line.rstrip().removesuffix(b",") + b"}", object_hook=decode))


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
    return Header(fields["key"], fields["expires"], fields["fingerprint"])


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (RecursionError, MemoryError):
        raise
    except Exception as error:  # whatever a rebuilt value's type raises, the text is bad
        raise StorageError(f"not a document of dotflow: {type(error).__name__}: {error}") from error
