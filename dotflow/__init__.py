"""Runs Python steps as workflows that explain themselves."""

from __future__ import annotations

from typing import Final

from dotflow.core.action import action
from dotflow.core.config import Config
from dotflow.core.context import Context
from dotflow.core.dotflow import DotFlow
from dotflow.core.task import Task

__version__: Final = "2.0.0.dev0"
__description__: Final = "Python steps as workflows whose every run explains itself"

__all__ = ["Config", "Context", "DotFlow", "Task", "action"]
