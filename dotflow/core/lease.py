"""What keeps a second run of a workflow out while one goes on with the same checkpoints.

A lease is a document of the storage, which one of two runs that begin at once can swap in. It names
the process of its run. On this machine that either lives or has ended; of another machine is known
only when it last renewed the lease. So a run that was killed is in nobody's way.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from dotflow.core.context import Context
from dotflow.core.exception import StorageError, WorkflowInUse
from dotflow.core.ids import LEASE, fresh_id, prefix_of
from dotflow.core.process import call_in_forked_child, fork_safe_lock
from dotflow.core.process_mark import SILENCE, ProcessMark
from dotflow.core.timing import Latch, system_time_ns

if TYPE_CHECKING:
    from dotflow.abc.storage import Storage

# Seconds between two renewals: of some that come late, none makes the others take the lease.
EVERY: Final = 10.0
# How often a storage may say that a lease is there and then that none is, and no more.
_TRIES: Final = 100

_logger = logging.getLogger("dotflow")


class Lease:
    """The right of one run to the checkpoints of a workflow.

    Args:
        storage: Where they are.
        workflow_id: Whose they are.
        holder: What goes when the run is gone that holds the lease, also one that never began.

    Attributes:
        token: Distinguishes it from every other lease.
        is_lost: Whether another run has taken it.
    """

    def __init__(self, storage: Storage, workflow_id: Any, holder: object) -> None:
        self.token = fresh_id()
        self.is_lost = False
        self._storage = storage
        self._workflow_id = workflow_id
        self._key = prefix_of(workflow_id) + LEASE
        self._holder = ref(holder)
        self._owner = ProcessMark.of_this()
        self._since = system_time_ns()
        self._written: Context | None = None
        self._is_over = False
        self._lock = fork_safe_lock()

    @property
    def is_held(self) -> bool:
        """Whether there is a run that needs it."""
        return not self._is_over and self._holder() is not None

    def take(self) -> None:
        """Take the lease.

        Raises:
            WorkflowInUse: Another run has it.
            StorageError: The storage's own.
        """
        # First, so that another thread that reads the document finds that it counts.
        _leases.add(self)
        try:
            with self._lock:
                self._take()
        except (NotImplementedError, WorkflowInUse):
            self._is_over = True
            _leases.remove(self)
            raise
        except BaseException:
            self.release()  # it may have been written
            raise

    def _take(self) -> None:
        found: Context | None = None
        for _ in range(_TRIES):
            if self._swap(found):
                return
            found = self._read()
            owner = None if self._is_own(found) else _live_owner(found.storage)
            if owner is not None:
                raise WorkflowInUse(self._workflow_id, owner)
        raise StorageError(f"Cannot swap {self._key!r}, though nobody else writes there.")

    def renew(self) -> None:
        """Say that the run goes on; or remove the lease of one that does not."""
        with self._lock:
            if not self.is_held:
                self._remove()
                return
            found = self._written
            for _ in range(_TRIES):
                if self._swap(found):
                    return
                found = self._read()
                if found.storage is not None and not self._is_own(found):
                    break
            self._lose()

    def release(self) -> None:
        """Give it up; where the storage cannot be reached, later."""
        if self._owner.pid != os.getpid():  # it is of the process that this one was forked from
            return
        with self._lock:
            self._is_over = True
            try:
                self._remove()
            except Exception:
                text = "the lease of workflow %s could not be removed; this is tried again"
                _logger.warning(text, self._workflow_id, exc_info=True)

    def check(self) -> None:
        """Check that nobody else has taken it.

        Raises:
            StorageError: Another run has.
        """
        if self.is_lost:
            raise StorageError(
                f"Another run has taken the workflow {self._workflow_id!s} over, as this process "
                f"was not heard of for {SILENCE // 10**9} seconds: nothing more is stored here."
            )

    def _swap(self, found: Context | None) -> bool:
        content = {
            "lease": self.token,
            "owner": list(self._owner),
            "since": self._since,
            "beat": system_time_ns(),
        }
        new = Context(storage=content)
        if not self._storage.atomic_swap(key=self._key, expected=found, new=new):
            return False
        self._written = new
        return True

    def _read(self) -> Context:
        return self._storage.get(key=self._key)

    def _is_own(self, found: Context) -> bool:
        return isinstance(found.storage, dict) and found.storage.get("lease") == self.token

    def _remove(self) -> None:
        if not self.is_lost and (self._is_fresh() or self._is_own(self._read())):
            self._storage.delete(key=self._key)
        _leases.remove(self)

    def _is_fresh(self) -> bool:
        # Nobody can have taken it yet, so it need not be read.
        if self._written is None:
            return False
        return system_time_ns() - int(self._written.storage["beat"]) < SILENCE // 2

    def _lose(self) -> None:
        self.is_lost = True
        _leases.remove(self)
        _logger.warning("another run has taken the workflow %s over", self._workflow_id)


class _Leases:
    """Those of this process, and the thread that renews them."""

    def __init__(self) -> None:
        self._all: dict[str, Lease] = {}
        self._end: Latch | None = None
        self._lock = fork_safe_lock()
        call_in_forked_child(self._begin_in_child)

    def add(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._all[lease.token] = lease
            if self._end is None:
                end = Latch()
                thread = Thread(target=self._renew, args=(end,), name="dotflow-lease", daemon=True)
                # Where there are no more threads, its process tells that the lease counts.
                with suppress(RuntimeError):
                    thread.start()
                    self._end = end

    def remove(self, lease: Lease) -> None:
        """Renew a lease no longer."""
        with self._lock:
            self._all.pop(lease.token, None)
            if not self._all and self._end is not None:
                self._end.open()
                self._end = None

    def has(self, token: object) -> bool:
        """Return whether a lease of this process is needed still."""
        lease = self._all.get(token) if isinstance(token, str) else None
        return lease is not None and lease.is_held

    def _renew(self, end: Latch) -> None:
        while not end.wait(EVERY):
            with self._lock:
                leases = list(self._all.values())
            for lease in leases:
                try:
                    lease.renew()
                except Exception as error:  # noqa: BLE001 - it is tried again
                    _logger.debug("a lease could not be renewed: %s", error)

    def _begin_in_child(self) -> None:
        # They are the parent's.
        self._all.clear()
        self._end = None


_leases: Final = _Leases()


def _live_owner(content: Any) -> str | None:
    """Return in words which process has a lease; None where it counts no longer, or is none."""
    try:
        owner = ProcessMark(*content["owner"])
        token, since, beat = content["lease"], content["since"], content["beat"]
        # One from the future is of a clock that nobody can go by.
        is_silent = abs(system_time_ns() - beat) > SILENCE
        if owner == ProcessMark.of_this():
            is_over = not _leases.has(token)
        else:
            # Of some systems only the number of a process is known, which another may have now.
            is_doubtful = owner.is_elsewhere or not owner.born
            is_over = owner.is_gone(beat) or (is_doubtful and is_silent)
        began = datetime.fromtimestamp(since // 10**9, UTC)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    if is_over:
        return None
    words = f"by process {owner.pid} on {owner.host}, since {began:%Y-%m-%d %H:%M:%S} UTC"
    if owner.is_elsewhere:
        words += f" (one elsewhere that is silent for {SILENCE // 10**9} seconds counts as ended)"
    return words
