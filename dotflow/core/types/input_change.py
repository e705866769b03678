"""Policies for a changed input, for programs that import them from here."""

from dotflow.core.types import VALID_POLICIES, TypeInputChange

__all__ = ["VALID_POLICIES", "TypeInputChange"]
