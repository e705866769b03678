"""Names of storages, for programs that import them from here."""

from dotflow.core.types import TypeStorage

__all__ = ["TypeStorage"]
