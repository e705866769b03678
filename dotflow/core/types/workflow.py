"""The states of a workflow, for programs that import them from here."""

from dotflow.core.types import WorkflowStatus

__all__ = ["WorkflowStatus"]
