"""Task ids, and the keys that contexts are stored under.

Ids have 26 characters and are fresh or derived. A fresh one is a ULID (48 bits of milliseconds, 80
random bits, in Crockford's base 32; https://github.com/ulid/spec), made here because the usual
library takes longer to import than the whole of dotflow. A derived id has the same form and is the
same in every process.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dotflow.core.model import Task


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_BLOCK = len(_PAIRS) ** 2


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def fresh_id() -> str:
    """Make a ULID: 26 characters that sort by time."""
    milliseconds = time.time_ns() // 1_000_000
    return _base32(milliseconds << 80 | int.from_bytes(os.urandom(10), "big"), _LENGTH)


class FreshIds:
    """A source of unique ids, cheap to take from: in any thread, and in forked children."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._prefixes: dict[tuple[int, int], str] = {}

    def take(self) -> str:
        """Return the next id."""
        # Ids of one process differ in their last four characters, counted up, so that an
        # id costs two look-ups and not 26 divisions; each block starts from a new ULID.
        # A counter and `setdefault` are each one step, so no two threads get one id.
        block, place = divmod(next(self._count), _BLOCK)
        key = (os.getpid(), block)
        prefix = self._prefixes.get(key) or self._prefixes.setdefault(key, fresh_id()[:-4])
        return prefix + _PAIRS[place >> 10] + _PAIRS[place & 1023]


def derived_id(workflow_id: object, group: str, name: str, occurrence: int) -> str:
    """Make an id that is the same for the same place in the same workflow.

    Args:
        workflow_id: The given id of the workflow.
        group: The name of the task's group.
        name: The name of the task.
        occurrence: How many tasks of that name came before it in the group.
    """
    from hashlib import sha256  # noqa: PLC0415 - slow to import, and only for given ids

    place = "\0".join((str(workflow_id), group, name, str(occurrence)))
    # A name of a file that is no UTF-8 has lone surrogates, which are encoded as they are.
    code = place.encode(errors="surrogatepass")
    return _base32(int.from_bytes(sha256(code).digest()[:17], "big") >> 6, _LENGTH)


RUN_RECORD: Final = "_run"
LEASE: Final = "_lease"

# What dotflow itself appends to a workflow id: a 26-character task id, or a reserved name.
_OWN_TAIL = re.compile(r"-(?:[0-9A-HJKMNP-TV-Z]{26}|_[a-z_]+(?:\.\d+)?)(?:\.\w+)?$")


# The id and prefix that came last: the text of a UUID takes longer to make than the rest of
# storing a context, and one run asks for it twice a task. Replaced as a whole, so that
# threads need no lock.
_last: tuple[Any, str] = (None, "None-")


def task_key(task: Task) -> str:
    """Return `<workflow id>-<task id>`."""
    global _last  # noqa: PLW0603 - a cache of one entry
    known, prefix = _last
    workflow_id = task.workflow_id
    if workflow_id is not known:
        prefix = prefix_of(workflow_id)
        _last = (workflow_id, prefix)
    return prefix + task.task_id


def prefix_of(workflow_id: Any) -> str:
    """Return what all keys of a workflow begin with."""
    return f"{workflow_id}-"


def belongs_to(key: str, workflow_id: Any) -> bool:
    """Return whether a key is that workflow's, and not that of one whose id merely begins so.

    The lease of a run that goes on is that run's.

    >>> belongs_to("etl-_run", "etl"), belongs_to("etl-daily-_run", "etl")
    (True, False)
    >>> belongs_to("etl-_lease", "etl")
    False
    """
    prefix = prefix_of(workflow_id)
    tail = key[len(prefix) :]
    return key.startswith(prefix) and tail != LEASE and not _OWN_TAIL.search(tail)
