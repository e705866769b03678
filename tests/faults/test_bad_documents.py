"""Documents of storages that are damaged, cut, or edited by hand into something else.

Whatever is in a file, reading it gives a value, or an error that names the file.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_inputs import ODD_TEXTS, VALUES, bounded

from dotflow import Context
from dotflow.core.exception import StorageError
from dotflow.providers import StorageFile
from dotflow.providers.storage_codec import TAG
from dotflow.providers.storage_document import Header, dump, load, peek_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from figures import Figures

TAGS = (
    *("str", "int", "float", "dict", "tuple", "set", "frozenset", "complex", "bytes", "bytearray"),
    *("datetime", "date", "time", "timedelta", "Decimal", "UUID", "Path", "Context", "unknown"),
)
FIELDS = ("dotflow", "key", "expires", "fingerprint", "task_id", "workflow_id", "time", "value")

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from(ODD_TEXTS)
    | st.sampled_from(["1e999", "0x" + "f" * 5_000, "9" * 5_000, "2024-01-02T03:04:05"])
    | st.sampled_from([10**400, -(10**18), "Europe/Paris", "../../etc/passwd", "AAAA"])
)


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    tags = st.sampled_from(TAGS) | inner
    tagged = st.fixed_dictionaries({TAG: tags}, optional={"value": inner})
    return st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner) | tagged


# What JSON can say, tags around what does not fit them included.
FORMS = st.recursive(LEAVES, _around, max_leaves=8)


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a value's document, as for an edit by hand."""
    fields: dict[str, Any] = json.loads(dump(Header("a", None, None), Context(value)))
    del fields["crc32"]
    return fields


def sealed(fields: dict[str, Any]) -> bytes:
    """Return a document of such fields whose checksums are right."""
    rest = {**fields}
    value = json.dumps(rest.pop("value", None))
    begin, end = json.dumps(rest)[:-1].encode(), f'"value": {value}}}\n'.encode()
    return b'%b, "crc32": "%08x %08x",\n%b' % (begin, crc32(begin), crc32(end), end)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """Return a document some of whose fields are others, or not there."""
    fields = fields_of(draw(VALUES))
    for name in draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=3)):
        fields[name] = draw(FORMS)
    if draw(st.integers(0, 9)) == 9:
        del fields[draw(st.sampled_from(FIELDS))]
    indented = partial(json.dumps, indent=1)
    written = draw(st.sampled_from([json.dumps, indented, sealed]))(fields)
    return written if isinstance(written, bytes) else written.encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a document of which bytes are changed, cut out, repeated or put in."""
    expires = draw(st.none() | st.floats(0, 1e12))
    document = dump(Header("a", expires, draw(st.none() | st.text())), Context(draw(VALUES)))
    if draw(st.booleans()):
        document = json.dumps(fields_of(draw(VALUES))).encode()
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(document)))
        part = document[begin : begin + draw(st.integers(0, 40))]
        put = draw(st.sampled_from([b"", part * 2, b"\n", b"{", b'"', b"\xff", b"[", b"0", b"NaN"]))
        document = document[:begin] + put + document[begin + len(part) :]
    return document


def check(storage: StorageFile, document: bytes) -> None:
    """Read a document: what comes is a header and a value, or an error that says why."""
    for read in (load, peek_at):
        with suppress(StorageError, RecursionError):
            _check_header(read, document)
    file = storage.path / "a"
    file.write_bytes(document)
    try:
        found = storage.get("a")
    except (StorageError, RecursionError) as error:
        message = str(error)
    else:
        assert type(found) is Context
        assert found.time.year
        return
    assert str(file.absolute()) in message
    assert storage.list_keys("") == ([] if _has_expired(document) else ["a"])


def _check_header(read: Callable[[bytes], Any], document: bytes) -> None:
    found = read(document)
    header = found if isinstance(found, Header) else found[0]
    assert type(header.key) is str
    assert header.fingerprint is None or type(header.fingerprint) is str
    # Of a time that can be compared there is an end.
    assert not header.live(float("inf")) or header.expires in {None, float("inf")}


def _has_expired(document: bytes) -> bool:
    # By its first line alone, so that a listing need not read the value.
    for read in (peek_at, lambda document: load(document)[0]):
        with suppress(StorageError, RecursionError):
            return not read(document).live(time.time())
    return False


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> StorageFile:
    """Return a folder for all documents, one after another."""
    return StorageFile(path=tmp_path_factory.mktemp("documents"))


def test_edited_by_hand(storage: StorageFile, figures: Figures) -> None:
    """Of a document with other fields or values either a value comes, or its file is named."""

    @bounded(300)
    @given(document=edited())
    # Found by it: each was taken for a header, of which the listing fell over, or the reader.
    @example(document=json.dumps({**fields_of(1), "key": None}).encode())
    @example(document=sealed({**fields_of(1), "key": ["a"]}))
    @example(document=json.dumps({**fields_of(1), "expires": "soon"}).encode())
    @example(document=json.dumps({**fields_of(1), "expires": float("nan")}).encode())
    @example(document=json.dumps({**fields_of(1), "fingerprint": {}}).encode())
    @example(document=json.dumps({**fields_of(1), "time": None}).encode())
    @example(document=json.dumps(fields_of(1)).replace("1}", "[" * 100_000).encode())
    def trial(document: bytes) -> None:
        figures.add("bad inputs tried", 1)
        check(storage, document)

    trial()


def test_damaged(storage: StorageFile, figures: Figures) -> None:
    """So it is with one some of whose bytes are others."""

    @bounded(300)
    @given(document=damaged())
    def trial(document: bytes) -> None:
        figures.add("bad inputs tried", 1)
        check(storage, document)

    trial()
