"""What storages of documents have in common: checked arguments, and what a swap compares."""

from __future__ import annotations

import time

from dotflow.core.arguments import check_seconds, check_text
from dotflow.core.context import Context
from dotflow.core.exception import InvalidOption, StorageError
from dotflow.providers.storage_codec import Header, dump, encode, load

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
    """Return what a file's document says of a key; None where it has expired by now.

    Raises:
        StorageError: It is corrupt, or that of another key; names the place.
    """
    try:
        header, context = load(document)
    except StorageError as error:
        raise unreadable(place, error) from error
    if header.key != key:
        raise StorageError(f"{place} belongs to the key {header.key!r}, not {key!r}. Remove it.")
    return (header, context) if header.live(now) else None


def unreadable(place: object, error: Exception) -> StorageError:
    """Return the error of a file that cannot be read, and what to do about it."""
    return StorageError(
        f"Cannot read {place}: {error}. Restore the file, or remove it to run that step again."
    )


def matches(current: Context | None, expected: Context | None) -> bool:
    """Return whether the value there, None where nothing is, is the one that a swap expects."""
    if current is None or expected is None:
        return current is None and (expected is None or expected.storage is None)
    there, wanted = current.storage, expected.storage
    # NaN and contexts equal nothing, but their forms do.
    return bool(there == wanted) or encode(there) == encode(wanted)
