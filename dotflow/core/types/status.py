"""The states of a task, for programs that import them from here."""

from dotflow.core.types import TypeStatus

__all__ = ["TypeStatus"]
