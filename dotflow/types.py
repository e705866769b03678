"""Constants that programs for dotflow 1.x import from here."""

from __future__ import annotations

from dotflow.core.types import TypeStatus, TypeStorage

__all__ = ["TypeStatus", "TypeStorage"]
