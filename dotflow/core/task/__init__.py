"""Tasks: the record, the queue that builds them, and how they are shown."""

from __future__ import annotations

from dotflow.core.exception import TaskError
from dotflow.core.task.builder import TaskBuilder
from dotflow.core.task.model import Task, basic_callback

__all__ = ["Task", "TaskBuilder", "TaskError", "basic_callback"]
