"""What a later run needs to go on from where this one stopped.

Beside the contexts of the tasks there is one reserved record a workflow: which tasks
completed (so that a completed None is told from a failure), the fingerprint of the input,
and what the tracer wants to link to. It is cut into pieces of 1,000 tasks, so that noting
one more task costs the same however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context
from dotflow.core.exception import InputChangedError, UnstableInput
from dotflow.core.fingerprint import fingerprint_of, read_fingerprint, write_fingerprint
from dotflow.core.ids import fresh_id
from dotflow.core.keys import RUN_RECORD, prefix_of
from dotflow.core.types.input_change import TypeInputChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow.abc.storage import Storage
    from dotflow.core.task.model import Task

_PIECE: Final = 1000


class Checkpoints:
    """The checkpoints of one workflow, as one run reads and writes them.

    Args:
        storage: Where they are.
        workflow_id: Whose they are.
    """

    def __init__(self, storage: Storage, workflow_id: Any) -> None:
        self._storage = storage
        self._workflow_id = workflow_id
        # Marks the pieces of a record that belong together.
        self._epoch = fresh_id()
        self._sole = True
        self._finished = False
        self._fingerprint: str | None = None
        self._carrier: Mapping[str, str] | None = None
        # Task id -> whether it has a value other than None.
        self._completed: dict[str, bool] = {}
        self._last_piece: dict[str, bool] = {}

    @property
    def carrier(self) -> Mapping[str, str] | None:
        """What the tracer of the run that wrote the checkpoints wanted kept."""
        return self._carrier

    @property
    def finished(self) -> bool:
        """Whether the run that wrote the checkpoints ended well."""
        return self._finished

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the input that the checkpoints were made from."""
        return self._fingerprint or read_fingerprint(self._storage, self._workflow_id)

    @classmethod
    def read(cls, storage: Storage, workflow_id: Any) -> Checkpoints:
        """Read what earlier runs left; empty where there is nothing."""
        found = cls(storage, workflow_id)
        record = storage.get(found._key(0)).storage
        if isinstance(record, dict):
            found._take_over(record)
        return found

    def _take_over(self, record: dict[str, Any]) -> None:
        self._epoch = record["epoch"]
        self._sole = record["sole"]
        self._finished = record["finished"]
        self._fingerprint = record["fingerprint"]
        self._carrier = record["carrier"]
        piece: Any = record
        number = 0
        while isinstance(piece, dict) and piece.get("epoch") == self._epoch:
            self._last_piece = dict(piece["completed"])
            self._completed.update(self._last_piece)
            number += 1
            piece = self._storage.get(self._key(number)).storage

    def forget(self, fingerprint: str | None) -> None:
        """Remove what earlier runs left."""
        try:
            self._storage.clear(workflow_id=str(self._workflow_id))
            self._sole = True
        except NotImplementedError:
            # A storage that cannot remove: the record alone tells what counts.
            self._sole = False
        self._epoch = fresh_id()
        self._completed, self._last_piece = {}, {}
        self._fingerprint = fingerprint
        self._carrier = None
        self._finished = False

    def accept(self, fingerprint: str) -> None:
        """Keep the fingerprint of the input that the checkpoints go with from now on."""
        self._fingerprint = fingerprint
        if read_fingerprint(self._storage, self._workflow_id) != fingerprint:
            write_fingerprint(self._storage, self._workflow_id, fingerprint)

    def begin(self, carrier: Mapping[str, str] | None) -> None:
        """Write the record of a run that begins."""
        self._carrier = carrier
        self._finished = False
        self._post_head()

    def note(self, task: Task) -> None:
        """Write that a task completed."""
        has_value = task.current_context.storage is not None
        if len(self._last_piece) >= _PIECE:
            self._last_piece = {}
        self._completed[task.task_id] = self._last_piece[task.task_id] = has_value
        self._post_last_piece()

    def finish(self, *, completed: bool) -> None:
        """Write that the run has ended."""
        self._finished = completed
        self._post_head()

    def restore(self, task: Task, storage: Storage) -> Context | None:
        """Give the context of a task that completed before, or None where it did not."""
        context = storage.get(key=storage.key(task=task))
        has_value = self._completed.get(task.task_id)
        found = context.storage is not None
        counts = (found and self._sole) if has_value is None else (found or not has_value)
        return Context(context) if counts else None

    def _post_head(self) -> None:
        completed = dict(list(self._completed.items())[:_PIECE])
        record = {
            "epoch": self._epoch,
            "sole": self._sole,
            "finished": self._finished,
            "fingerprint": self._fingerprint,
            "carrier": None if self._carrier is None else dict(self._carrier),
            "completed": completed,
        }
        self._storage.post(key=self._key(0), context=Context(record))

    def _post_last_piece(self) -> None:
        number = (len(self._completed) - 1) // _PIECE
        if number == 0:
            self._post_head()
            return
        piece = {"epoch": self._epoch, "completed": dict(self._last_piece)}
        self._storage.post(key=self._key(number), context=Context(piece))

    def _key(self, piece: int) -> str:
        key = prefix_of(self._workflow_id) + RUN_RECORD
        return f"{key}.{piece}" if piece else key


def open_checkpoints(
    storage: Storage,
    workflow_id: Any,
    tasks: Sequence[Task],
    *,
    resume: bool,
    on_input_change: str,
    fingerprint: str | None,
) -> Checkpoints:
    """Prepare the checkpoints of a run: read, check against the input, or forget.

    Raises:
        InputChangedError: The input changed and the policy is `raise`.
        UnstableInput: A resumed run's input has no fingerprint, and none was given.
    """
    if not resume:
        found = Checkpoints(storage, workflow_id)
        found.forget(fingerprint or _fingerprint_or_none(tasks))
        return found
    found = Checkpoints.read(storage, workflow_id)
    current = fingerprint or _fingerprint(tasks)
    if found.fingerprint not in (None, current):
        if on_input_change == TypeInputChange.RAISE:
            raise InputChangedError(workflow_id)
        if on_input_change == TypeInputChange.REUSE:
            return found
        found.forget(current)
    found.accept(current)
    return found


def _fingerprint(tasks: Sequence[Task]) -> str:
    return fingerprint_of([task.initial_context.storage for task in tasks])


def _fingerprint_or_none(tasks: Sequence[Task]) -> str | None:
    # Without resume nothing depends on it yet, so an input that has none is no error.
    try:
        return _fingerprint(tasks)
    except UnstableInput:
        return None
