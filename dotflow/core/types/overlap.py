"""Policies for overlapping runs, for programs that import them from here."""

from dotflow.core.types import TypeOverlap

__all__ = ["TypeOverlap"]
