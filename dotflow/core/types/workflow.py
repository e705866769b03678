"""The states of a workflow."""

from __future__ import annotations

from typing import Final


class WorkflowStatus:
    """States of a workflow, as a server is told them."""

    NEW: Final = "New"
    IN_PROGRESS: Final = "In progress"
    COMPLETED: Final = "Completed"
    FAILED: Final = "Failed"
