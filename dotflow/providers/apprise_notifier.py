"""What all notifiers over apprise have in common: what a task shows, and how it is sent."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections import deque
from reprlib import Repr
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.notify import Notify
from dotflow.core.arguments import check_choice, check_seconds
from dotflow.core.exception import InvalidOption
from dotflow.core.process import call_in_forked_child
from dotflow.core.timing import monotonic
from dotflow.core.types import TypeStatus
from dotflow.core.user_objects import repr_of, text_of
from dotflow.providers.apprise_target import FAILURE, INFO, SUCCESS, WARNING, BadTarget, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dotflow.core.model import Task
    from dotflow.providers.apprise_target import Message

_logger: Final = logging.getLogger("dotflow")

# The longest text of an error or a result, in characters, unless a service has less room.
LONGEST: Final = 1000

STATUSES: Final = (
    TypeStatus.NOT_STARTED,
    TypeStatus.IN_PROGRESS,
    TypeStatus.COMPLETED,
    TypeStatus.PAUSED,
    TypeStatus.RETRY,
    TypeStatus.FAILED,
)
# The start of a line that may make a heading, of itself or of the line before it.
_HEADING: Final = re.compile(r"^(?=[ \t]*[#=-])", re.MULTILINE)

_KINDS: Final = {
    TypeStatus.COMPLETED: SUCCESS,
    TypeStatus.RETRY: WARNING,
    TypeStatus.FAILED: FAILURE,
}


class AppriseNotifier(Notify):
    """Writes a message when a task's status changes, and sends it in the background.

    A subclass writes it, in `message`.

    Args:
        services: Where to.
        statuses: Those of which to notify.
        limit: How many messages there may be.
    """

    def __init__(
        self, services: Sequence[Target], statuses: Collection[str], limit: RateLimit
    ) -> None:
        self._services = services
        self._statuses = statuses
        self._limit = limit

    @abstractmethod
    def message(self, task: Task) -> Message:
        """Return what to send of a task as it is now."""

    def hook_status_task(self, task: Task) -> None:
        """Notify of a task's status, where that is one of those to notify of."""
        if task.status not in self._statuses:
            return
        left_out = self._limit.take()
        if left_out is None:
            return
        message = self.message(task)
        if left_out:
            message = message._replace(body=f"{message.body}\n{self._limit.note(left_out)}")
        for service in self._services:
            service.delivery.put(message)

    @property
    def dropped(self) -> int:
        """How many notifications were left out or dropped, over all services."""
        queued = sum(service.delivery.dropped for service in self._services)
        return queued + self._limit.left_out * len(self._services)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait at most `timeout` seconds until all is sent; return whether it is.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, zero=True)
        end = monotonic() + timeout
        waits = [each.delivery.flush(max(end - monotonic(), 0.0)) for each in self._services]
        return all(waits)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(each.name for each in self._services)}>"


class RateLimit:
    """How many notifications there may be in some seconds.

    Attributes:
        left_out: How many were refused.
    """

    def __init__(self, limit: int | None, period: float = 60.0) -> None:
        self._limit = limit
        self._period = period
        self.left_out = 0
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        self._lock = Lock()
        self._since_last = 0
        self._times: deque[float] = deque(maxlen=self._limit)

    def take(self) -> int | None:
        """Return how many were left out since the last one; None: this one is to be, too."""
        if self._limit is None:
            return 0
        now = monotonic()
        with self._lock:
            if len(self._times) < self._limit or now - self._times[0] >= self._period:
                self._times.append(now)
                since_last, self._since_last = self._since_last, 0
                return since_last
            self._since_last += 1
            self.left_out += 1
            is_first = self.left_out == 1
        if is_first:
            _logger.warning(
                "More than %d notifications in %g s: further ones are left out. "
                "They are counted, and not logged again.",
                self._limit,
                self._period,
            )
        return None

    def note(self, left_out: int) -> str:
        """Return what the next notification tells of those that were left out."""
        text = f"{left_out} left out before this one: at most {self._limit} in {self._period:g} s"
        return f"({text})"


def service(option: str, shown: str, url: str, **options: Any) -> Target:
    """Return the service of an address that was made of other arguments.

    Args:
        option: The argument that is wrong where the address is.
        shown: What to show of its value.
        url: The address.
        **options: Those of `Target`.

    Raises:
        InvalidOption: The address cannot be used.
    """
    try:
        return Target(url, "1 of 1", **options)
    except BadTarget as error:
        why = str(error)
    # Here, for the other error's traceback has the address in its frames.
    raise InvalidOption(option, shown, why)


def chosen_status(notification_type: str | None) -> Collection[str]:
    """Return the statuses that the argument of dotflow 1.x stands for.

    Raises:
        InvalidOption: There is no such status.
    """
    check_choice("notification_type", notification_type, STATUSES, optional=True)
    return STATUSES if notification_type is None else (notification_type,)


def literal(text: str) -> str:
    """Return a text that a block of code in Markdown shows, and that ends none."""
    # A line that begins so may be a heading: it gets a space that is not seen.
    return _HEADING.sub("\u200b", text.replace("`", "'"))


def kind_of(task: Task) -> str:
    """Return the kind of message that a status is."""
    return _KINDS.get(task.status, INFO)


def _has_error(task: Task) -> bool:
    # A task that completed may have failed attempts, which are not what it is notified of.
    return task.status in (TypeStatus.FAILED, TypeStatus.RETRY) and bool(task.errors)


def heading_of(task: Task) -> tuple[str, list[str]]:
    """Return the title and the first lines of a message in Markdown: status and both ids."""
    title = f"{TypeStatus.get_symbol(task.status)} {task.status}"
    workflow = f"Workflow `{literal(str(task.workflow_id))}`"
    return title, [workflow, f"Task `{literal(task.task_id)}` (`{literal(task.name)}`)"]


def error_of(task: Task) -> str:
    """Return type and text of the error that a task's status tells of; empty: of none."""
    if not _has_error(task):
        return ""
    error = task.errors[-1]
    return shortened(f"{error.exception}: {error.message}", LONGEST)


def result_of(task: Task, limit: int) -> str:
    """Return what a step returned, as far as so many characters show it; empty: nothing."""
    value = task.current_context.storage
    if value is None:
        return ""
    if isinstance(value, str):
        return shortened(text_of(value), limit)
    # Of a long list or a deep one no more is looked at than is shown.
    show = Repr()
    show.maxlist = show.maxtuple = show.maxset = show.maxfrozenset = show.maxdict = limit // 4
    show.maxstring = show.maxother = show.maxlong = limit
    return shortened(repr_of(value, show.repr), limit)


def shortened(text: str, limit: int) -> str:
    """Return a text of so many characters at most; the last one says that there is more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}\u2026"


# The names that templates may have.
VALUES: Final[dict[str, Callable[[Task], str]]] = {
    "workflow": lambda task: "workflow" if task.run is None else task.run.name,
    "workflow_id": lambda task: str(task.workflow_id),
    "task": lambda task: task.name,
    "task_id": lambda task: task.task_id,
    "group": lambda task: task.group_name,
    "status": lambda task: task.status,
    "symbol": lambda task: TypeStatus.get_symbol(task.status) or "",
    "attempt": lambda task: str(task.attempt),
    "duration": lambda task: "" if task.duration is None else f"{task.duration:.3g} s",
    "error_type": lambda task: str(task.errors[-1].exception) if _has_error(task) else "",
    "error": error_of,
    "result": lambda task: result_of(task, LONGEST),
}
