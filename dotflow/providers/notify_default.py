"""The notifier that is used by default: none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotflow.abc.noop import noop
from dotflow.abc.notify import Notify

if TYPE_CHECKING:
    from dotflow.core.model import Task


class NotifyDefault(Notify):
    """Notifies nobody."""

    @noop
    def hook_status_task(self, task: Task) -> None:
        """Do nothing."""
