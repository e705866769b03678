"""What is recorded of a run, as compressed pieces that are written as it goes on.

A segment holds some spans and log lines of one run. Those that are alike, such as the spans of
one task's runs, are stored by columns, and a column whose values are all the same as one value:
that takes a tenth of the room of rows in a table, and a fraction of the time, for which the
writing thread keeps the run from going on. It is JSON, so that what reads it needs nothing but a
decoder, and a file that comes from elsewhere can do no harm; columns of ids and times are texts in
it, of sixteen hexadecimal digits a number.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections import Counter
from json import JSONDecoder, JSONEncoder
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# The kinds of records. A plain span is one of this project without events, links and a status; an
# outcome is the end of a span that was not recorded itself, because it is not sampled.
_OPEN: Final = 0
_PLAIN: Final = 1
_FULL: Final = 2
_OUTCOME: Final = 3
_LINE: Final = 4

SAMPLED: Final = 1
PARENT_IS_REMOTE: Final = 2

# What texts most segments have in common; one of a few spans is half as large with it.
_DICTIONARY: Final = (
    '"running","service","exception.type","exception.message","exception.stacktrace",'
    '"error.type","Traceback (most recent call last):\\n  File \\"/usr/lib/python3/site-packages/'
    '"timestamp": "2026-", "level": "info", "event": "task.started", "workflow_id": "", '
    '"workflow": "", "task_id": "01", "task": "", "group": "default", "trace_id": "", "span_id": "'
    '", "attempt": 1}\\n"event": "task.completed", "duration": '
    '[0,"task ",[1,"attempt",["dotflow.attempt.number","dotflow.task.queue.duration","process.pid",'
    '"host.name"],[2,"workflow ",["dotflow.workflow.id","dotflow.workflow.name",'
    '"dotflow.workflow.mode","dotflow.workflow.task.count","dotflow.workflow.status"],[1,"task ",'
    '["dotflow.workflow.id","dotflow.workflow.name","code.function.name","code.file.path",'
    '"code.line.number","dotflow.task.timeout","dotflow.task.name","dotflow.task.group",'
    '"dotflow.task.id","dotflow.task.index","dotflow.task.status","dotflow.task.attempts"],1,'
    '[[["sequential"],["parallel"],["default"],["completed"],[1],[0.0],[0,null],[],[1]]'
).encode("ascii")

_encode: Final = JSONEncoder(check_circular=False, separators=(",", ":"), default=str).encode
_decode: Final = JSONDecoder().decode

Attributes = dict[str, Any]


class PlainColumns(NamedTuple):
    """Spans of this project that are alike, in columns; one value may stand for all rows.

    Attributes:
        name: Their name.
        keys: The names of their attributes.
        number: How many they are.
        columns: Their ids, those of their parents, their starts, durations and flags, each as
            `_numbers` returns it; then the values of each attribute.
    """

    name: str
    keys: tuple[str, ...]
    number: int
    columns: list[Sequence[Any]]

    def counts(self, *keys: str) -> Iterable[tuple[tuple[Any, ...], int]]:
        """Return the parents with the values of these attributes, each once, and how often."""
        where = (1, *(_NUMBERS + self.keys.index(key) for key in keys))
        columns = [self.columns[index] for index in where]
        if all(len(column) == 1 for column in columns):
            return [(tuple(column[0] for column in columns), self.number)]
        whole = (_whole(column, self.number) for column in columns)
        return Counter(zip(*whole, strict=True)).items()


# How many columns there are before the values of attributes.
_NUMBERS: Final = 5


class SegmentBuilder:
    """Puts one segment together."""

    def __init__(self) -> None:
        # By kind, name and the names of the attributes.
        self._groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        # By their names.
        self._plain: dict[str, list[tuple[Any, ...]]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added."""
        return not (self._groups or self._plain)

    def _add(self, row: tuple[Any, ...], kind: int, *like: Any) -> None:
        rows = self._groups.get((kind, *like))
        if rows is None:
            rows = self._groups[kind, *like] = []
        rows.append(row)

    def add_open(
        self,
        name: str,
        span_id: int,
        parent_id: int,
        started: int,
        flags: int,
        attributes: Attributes,
    ) -> None:
        """Add a span that has begun."""
        row = (span_id, parent_id, started, flags, *attributes.values())
        self._add(row, _OPEN, name, tuple(attributes))

    def like(self, span: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return where spans are added that have ended, and are of the name of this one.

        Args:
            span: As `plain_row` returns it.
        """
        return self._plain.setdefault(span[1], [])

    def plain_columns(self) -> Iterator[PlainColumns]:
        """Return what was added to the lists of `like`, by columns."""
        for name, rows in self._plain.items():
            alike = _alike(name, rows)
            if alike is not None:
                yield alike
                continue
            by_keys: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
            for row in rows:
                by_keys.setdefault(tuple(row[0]), []).append(row)
            yield from filter(None, (_alike(name, those) for those in by_keys.values()))

    def add_full(
        self,
        name: str,
        span_id: int,
        parent_id: int,
        started: int,
        ended: int,
        flags: int,
        attributes: Attributes,
        *more: Any,
    ) -> None:
        """Add any span that has ended. The rest is as in `Span`, from `kind` on."""
        row = (span_id, parent_id, started, ended - started, flags, *more, *attributes.values())
        self._add(row, _FULL, name, tuple(attributes))

    def add_outcome(self, span_id: int, ended: int, attributes: Attributes) -> None:
        """Add how a span ended that is not recorded itself."""
        self._add((span_id, ended, *attributes.values()), _OUTCOME, "", tuple(attributes))

    def add_line(
        self, time: int, level: int, event: str, fields: Mapping[str, Any] | str, span_id: int
    ) -> None:
        """Add a log line: its fields, or the JSON of these."""
        self._add((time, level, fields, span_id), _LINE, event, ())

    def packed(self, plain: Sequence[PlainColumns] | None = None) -> bytes:
        """Return the segment as it is stored.

        Args:
            plain: What `plain_columns` returned, where that was asked for.
        """
        columns = self.plain_columns() if plain is None else plain
        groups = [(_PLAIN, *each) for each in columns]
        groups += [(*key, len(rows), _columns(rows)) for key, rows in self._groups.items()]
        packing = zlib.compressobj(1, zdict=_DICTIONARY)
        return packing.compress(_encode(groups).encode()) + packing.flush()


def _alike(name: str, rows: list[tuple[Any, ...]]) -> PlainColumns | None:
    """Return spans by columns; None where their attributes have not all the same names."""
    attributes, _, _, *numbers = zip(*rows, strict=True)
    keys = tuple(attributes[0])
    # As many of them, and each of these: a fraction of the time that comparing names takes.
    if [*map(len, attributes)].count(len(keys)) < len(rows):
        return None
    try:
        values = [tuple(map(itemgetter(key), attributes)) for key in keys]
    except KeyError:
        return None
    return PlainColumns(name, keys, len(rows), [*map(_numbers, numbers), *map(_column, values)])


def _columns(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [_column(values) for values in zip(*rows, strict=True)]


def _column(values: tuple[Any, ...]) -> tuple[Any, ...]:
    first = values[0]
    if values.count(first) < len(values):
        return values
    # What is equal need not be the same: 1, 1.0 and True.
    same = type(first) is str or len(set(map(type, values))) == 1
    return (first,) if same else values


def _numbers(values: tuple[int, ...]) -> Sequence[int] | str:
    """Return a column of numbers of 64 bits: as digits, which take a fraction of JSON's time."""
    first = values[0]
    if values.count(first) == len(values):
        return (first,)
    try:
        found = array("Q", values)
    except OverflowError:  # a duration of a clock that was set back
        return values
    if sys.byteorder == "little":
        found.byteswap()
    return found.tobytes().hex()


def _whole(column: Sequence[Any], count: int) -> Sequence[Any]:
    """Return what there is in each row of a column."""
    if isinstance(column, str):
        numbers = array("Q", bytes.fromhex(column))
        if sys.byteorder == "little":
            numbers.byteswap()
        return numbers
    return column if len(column) == count else [*column] * count


class Event(NamedTuple):
    """An event of a span; the time is in nanoseconds since the epoch."""

    name: str
    time: int
    attributes: Mapping[str, Any]


class Link(NamedTuple):
    """A link from a span to another one, whose ids are as in `Span`."""

    trace_id: str
    span_id: int
    attributes: Mapping[str, Any]


class Scope(NamedTuple):
    """Which instrumentation made a span."""

    name: str
    version: str | None = None
    schema_url: str | None = None
    attributes: Mapping[str, Any] | None = None


class Span(NamedTuple):
    """A span of a run.

    Attributes:
        name: Its name.
        span_id: Its id; `f"{span_id:016x}"` is what backends show.
        parent_id: That of the span above; 0 where there is none.
        started: Nanoseconds since the epoch.
        ended: Likewise; None where it has not, as far as is known.
        flags: `SAMPLED` and `PARENT_IS_REMOTE`, added up.
        attributes: Its attributes.
        kind: The value of its `SpanKind`.
        status: The value of its `StatusCode` (2 is an error), and the description.
        events: Its events.
        links: Its links.
        scope: Which instrumentation made it; None: this project's own.
        state: The trace state, in the form of the W3C header.
    """

    name: str
    span_id: int
    parent_id: int
    started: int
    ended: int | None
    flags: int
    attributes: Mapping[str, Any]
    kind: int = 0
    status: tuple[int, str | None] = (0, None)
    events: Sequence[Event] = ()
    links: Sequence[Link] = ()
    scope: Scope | None = None
    state: str = ""

    @property
    def duration(self) -> float | None:
        """Seconds; None where it has not ended."""
        return None if self.ended is None else (self.ended - self.started) / 1e9

    @property
    def has_failed(self) -> bool:
        """Whether its status is an error."""
        return self.status[0] == _ERROR


_ERROR: Final = 2


class Outcome(NamedTuple):
    """How a span ended that is not sampled."""

    span_id: int
    ended: int
    attributes: Attributes


class LogLine(NamedTuple):
    """A log line.

    Attributes:
        time: Nanoseconds since the epoch.
        level: As in `logging`.
        event: The name of an event, or the message of a record.
        fields: The rest.
        span_id: That of the span that it belongs to; 0 where there is none.
    """

    time: int
    level: int
    event: str
    fields: Mapping[str, Any]
    span_id: int


def unpacked(body: bytes) -> Iterator[Span | Outcome | LogLine]:
    """Read a segment.

    Raises:
        ValueError: It is damaged.
    """
    try:
        packing = zlib.decompressobj(zdict=_DICTIONARY)
        groups = _decode((packing.decompress(body) + packing.flush()).decode())
    except zlib.error as error:
        raise ValueError(f"a segment is damaged: {error}") from error
    for kind, name, keys, count, columns in groups:
        read = _READ[kind]
        for row in zip(*(_whole(column, count) for column in columns), strict=True):
            yield read(name, keys, row)


def _open(name: str, keys: Sequence[str], row: Sequence[Any]) -> Span:
    span_id, parent_id, started, flags, *values = row
    return Span(name, span_id, parent_id, started, None, flags, _attributes(keys, values))


def _plain(name: str, keys: Sequence[str], row: Sequence[Any]) -> Span:
    span_id, parent_id, started, took, flags, *values = row
    attributes = _attributes(keys, values)
    return Span(name, span_id, parent_id, started, started + took, flags, attributes)


def _full(name: str, keys: Sequence[str], row: Sequence[Any]) -> Span:
    span_id, parent_id, started, took, flags, kind, status, events, links, scope, state = row[:11]
    return Span(
        name,
        span_id,
        parent_id,
        started,
        started + took,
        flags,
        _attributes(keys, row[11:]),
        kind,
        (status[0], status[1]),
        [Event(*each) for each in events],
        [Link(*each) for each in links],
        None if scope is None else Scope(*scope),
        state,
    )


def _outcome(_name: str, keys: Sequence[str], row: Sequence[Any]) -> Outcome:
    span_id, ended, *values = row
    return Outcome(span_id, ended, _attributes(keys, values))


def _attributes(keys: Sequence[str], values: Sequence[Any]) -> Attributes:
    found = dict(zip(keys, values, strict=True))
    if list in map(type, values):
        # The SDK takes sequences of values as tuples.
        found.update({key: tuple(each) for key, each in found.items() if type(each) is list})
    return found


def _line(event: str, _keys: Sequence[str], row: Sequence[Any]) -> LogLine:
    time, level, fields, span_id = row
    if isinstance(fields, str):
        fields = _decode(fields)
    rest = {name: value for name, value in fields.items() if name not in _ELSEWHERE}
    return LogLine(time, level, event, rest, span_id)


_ELSEWHERE: Final = frozenset({"timestamp", "level", "event", names.TRACE_ID, names.SPAN_ID})

_READ: Final[dict[int, Callable[..., Span | Outcome | LogLine]]] = {
    _OPEN: _open,
    _PLAIN: _plain,
    _FULL: _full,
    _OUTCOME: _outcome,
    _LINE: _line,
}
