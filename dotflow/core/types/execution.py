"""Names of the modes, for programs that import them from here."""

from dotflow.core.types import TypeExecution

__all__ = ["TypeExecution"]
