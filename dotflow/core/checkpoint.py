"""What a later run needs to go on from where this one stopped.

Beside the contexts of the tasks there is one reserved record a workflow: which tasks
completed (so that a completed None is told from a failure), the fingerprint of the input,
and what the tracer wants to link to. It is cut into pieces of 1,000 tasks, so that noting
one more task costs the same however many there are.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context
from dotflow.core.exception import InputChangedError, UnstableInput
from dotflow.core.fingerprint import fingerprint_of, fp_key, read_fingerprint, write_fingerprint
from dotflow.core.ids import RUN_RECORD, fresh_id, prefix_of
from dotflow.core.lease import Lease
from dotflow.core.types import TypeInputChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dotflow.abc.storage import Storage
    from dotflow.core.model import Task

_PIECE: Final = 1000


class Checkpoints:
    """The checkpoints of one workflow, as one run reads and writes them.

    Args:
        storage: Where they are.
        workflow_id: Whose they are.

    Attributes:
        keys: Where the record is.
    """

    def __init__(self, storage: Storage, workflow_id: Any) -> None:
        self._storage = storage
        self._workflow_id = workflow_id
        self._lease: Lease | None = None
        self.keys = [fp_key(workflow_id), self._key(0)]
        self._begin_record(None, sole=True)

    def _begin_record(self, fingerprint: str | None, *, sole: bool) -> None:
        self._head: dict[str, Any] = {
            # Marks the pieces of a record that belong together.
            "epoch": fresh_id(),
            # Whether nothing of an earlier run can be in the storage.
            "sole": sole,
            "finished": False,
            "fingerprint": fingerprint,
            "carrier": None,
            # Task id -> whether it has a value other than None; None: it is to be run again.
            "completed": {},
        }
        # The first piece is the head, so that most workflows have one record.
        self._pieces: list[dict[str, Any]] = [self._head]
        self._was_found = False

    @property
    def carrier(self) -> Mapping[str, str] | None:
        """What the tracer of the run that wrote the checkpoints wanted kept."""
        carrier: Mapping[str, str] | None = self._head["carrier"]
        return carrier

    @property
    def finished(self) -> bool:
        """Whether the run that wrote the checkpoints ended well."""
        return bool(self._head["finished"])

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the input that the checkpoints were made from."""
        return self._head["fingerprint"] or read_fingerprint(self._storage, self._workflow_id)

    @property
    def is_lost(self) -> bool:
        """Whether another run has taken the workflow over, so that nothing may be written."""
        return self._lease is not None and self._lease.is_lost

    def keep_others_out(self) -> None:
        """Let no other run of the workflow begin until `close`, where the storage can.

        Raises:
            WorkflowInUse: One goes on.
        """
        if not self._storage.can_lease:
            return
        lease = Lease(self._storage, self._workflow_id, holder=self)
        with suppress(NotImplementedError):
            lease.take()
            self._lease = lease

    def close(self) -> None:
        """Let other runs begin."""
        if self._lease is not None:
            self._lease.release()

    @classmethod
    def read(cls, storage: Storage, workflow_id: Any) -> Checkpoints:
        """Read what earlier runs left; empty where there is nothing."""
        found = cls(storage, workflow_id)
        found.load()
        return found

    def load(self) -> None:
        """Read what earlier runs left."""
        record = self._storage.get(key=self._key(0)).storage
        if isinstance(record, dict) and record.keys() == self._head.keys():
            self._take_over(record)

    def _take_over(self, head: dict[str, Any]) -> None:
        self._was_found = True
        self._head = {**head, "completed": dict(head["completed"])}
        self._pieces = [self._head]
        while True:
            piece = self._storage.get(key=self._key(len(self._pieces))).storage
            if not isinstance(piece, dict) or piece.get("epoch") != self._head["epoch"]:
                break
            self._add_piece(dict(piece["completed"]))

    def forget(self, fingerprint: str | None) -> None:
        """Remove what earlier runs left."""
        try:
            self._storage.clear(workflow_id=str(self._workflow_id))
        except NotImplementedError:
            # A storage that cannot remove: the record alone tells what counts.
            self._begin_record(fingerprint, sole=False)
        else:
            self._begin_record(fingerprint, sole=True)

    def accept(self, fingerprint: str) -> None:
        """Keep the fingerprint of the input that the checkpoints go with from now on."""
        self._head["fingerprint"] = fingerprint
        if read_fingerprint(self._storage, self._workflow_id) != fingerprint:
            write_fingerprint(self._storage, self._workflow_id, fingerprint)

    def begin(self, carrier: Mapping[str, str] | None) -> None:
        """Write the record of a run that begins."""
        self._head["carrier"] = None if carrier is None else dict(carrier)
        self._head["finished"] = False
        self._post(0)

    def note_restored(self, task: Task) -> None:
        """Write that a task completed in an earlier run."""
        if self._piece_of(task) is None:
            self._post(self._write(task, None, task.current_context.storage is not None))

    def complete(self, task: Task, storage: Storage, context: Context) -> None:
        """Store the context of a task that completed, and write that it did.

        Both at once, where one storage has both and can.
        """
        if self._lease is not None:
            self._lease.check()
        key = storage.key(task=task)
        if storage is not self._storage:
            storage.post(key=key, context=context)
            self._post(self._write(task, self._piece_of(task), context.storage is not None))
            return
        piece = self._write(task, self._piece_of(task), context.storage is not None)
        try:
            storage.post_all({key: context, self._key(piece): Context(self._pieces[piece])})
        except BaseException:
            # It is written neither now nor with the next task.
            self._write(task, piece, None)
            raise

    def run_again(self, tasks: Iterable[Task]) -> None:
        """Write that tasks are to be run again, whatever earlier runs made of them."""
        changed = set()
        for task in tasks:
            piece = self._piece_of(task)
            # Without a record of the earlier run, every context in the storage is one.
            if piece is not None or not self._was_found:
                changed.add(self._write(task, piece, None))
        for piece in sorted(changed):
            self._post(piece)

    def _write(self, task: Task, piece: int | None, has_value: bool | None) -> int:
        if piece is None:
            if len(self._pieces[-1]["completed"]) >= _PIECE:
                self._add_piece({})
            piece = len(self._pieces) - 1
        self._pieces[piece]["completed"][task.task_id] = has_value
        return piece

    def finish(self, *, completed: bool) -> None:
        """Write that the run has ended."""
        self._head["finished"] = completed
        self._post(0)

    def restore(self, task: Task, storage: Storage) -> Context | None:
        """Return the context of a task that completed before, or None where it did not."""
        context = storage.get(key=storage.key(task=task))
        found = context.storage is not None
        piece = self._piece_of(task)
        if piece is None:
            counts = found and self._head["sole"]
        else:
            has_value = self._pieces[piece]["completed"][task.task_id]
            counts = has_value is not None and (found or not has_value)
        return Context(context) if counts else None

    def _add_piece(self, completed: dict[str, bool | None]) -> None:
        self.keys.append(self._key(len(self._pieces)))
        self._pieces.append({"epoch": self._head["epoch"], "completed": completed})

    def _piece_of(self, task: Task) -> int | None:
        for number, piece in enumerate(self._pieces):
            if task.task_id in piece["completed"]:
                return number
        return None

    def _post(self, piece: int) -> None:
        if self._lease is not None:
            self._lease.check()
        self._storage.post(key=self._key(piece), context=Context(self._pieces[piece]))

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
    alone: bool,
) -> Checkpoints:
    """Prepare the checkpoints of a run: read, check against the input, or forget.

    Args:
        storage: Where they are.
        workflow_id: Whose they are.
        tasks: The tasks of the run.
        resume: Whether it goes on from them.
        on_input_change: The policy, where the input changed.
        fingerprint: Stands for the input.
        alone: Whether others can name the workflow too, and are to be kept out.

    Raises:
        InputChangedError: The input changed and the policy is `raise`.
        UnstableInput: A resumed run's input has no fingerprint, and none was given.
        WorkflowInUse: Another run of the workflow goes on.
    """
    opened = Checkpoints(storage, workflow_id)
    if alone:
        opened.keep_others_out()
    try:
        if resume:
            _resume(opened, workflow_id, on_input_change, fingerprint or _fingerprint(tasks))
        else:
            opened.forget(fingerprint or _fingerprint_or_none(tasks))
    except BaseException:
        opened.close()
        raise
    return opened


def _resume(opened: Checkpoints, workflow_id: Any, on_input_change: str, current: str) -> None:
    opened.load()
    if opened.fingerprint not in (None, current):
        if on_input_change == TypeInputChange.RAISE:
            raise InputChangedError(workflow_id)
        if on_input_change == TypeInputChange.REUSE:
            return
        opened.forget(current)
    opened.accept(current)


def _fingerprint(tasks: Sequence[Task]) -> str:
    return fingerprint_of([task.initial_context.storage for task in tasks])


def _fingerprint_or_none(tasks: Sequence[Task]) -> str | None:
    # Without resume nothing depends on it yet, so an input that has none is no error.
    try:
        return _fingerprint(tasks)
    except UnstableInput:
        return None
