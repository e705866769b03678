"""Which stored keys belong to which workflow."""

from __future__ import annotations

import re
from typing import Any, Final

RUN_RECORD: Final = "_run"

# What dotflow itself appends to a workflow id: a 26-character task id, or a reserved name.
_OWN_TAIL = re.compile(r"-(?:[0-9A-HJKMNP-TV-Z]{26}|_[a-z_]+(?:\.\d+)?)(?:\.\w+)?$")


def prefix_of(workflow_id: Any) -> str:
    """Give what all keys of a workflow begin with."""
    return f"{workflow_id}-"


def belongs_to(key: str, workflow_id: Any) -> bool:
    """Tell whether a key is that workflow's, and not that of one whose id merely begins so.

    >>> belongs_to("etl-_run", "etl"), belongs_to("etl-daily-_run", "etl")
    (True, False)
    """
    prefix = prefix_of(workflow_id)
    return key.startswith(prefix) and not _OWN_TAIL.search(key[len(prefix) :])
