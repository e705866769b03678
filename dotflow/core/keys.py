"""Which stored keys belong to which workflow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dotflow.core.task.model import Task

RUN_RECORD: Final = "_run"

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

    >>> belongs_to("etl-_run", "etl"), belongs_to("etl-daily-_run", "etl")
    (True, False)
    """
    prefix = prefix_of(workflow_id)
    return key.startswith(prefix) and not _OWN_TAIL.search(key[len(prefix) :])
