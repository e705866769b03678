"""Bounds on how many values a label may have."""

from __future__ import annotations

import logging
from typing import Final

from dotflow.core.locks import fork_safe_lock
from dotflow_otel.conventions import MAX_LABEL_VALUES, OTHER
from dotflow_otel.plain import printable

_logger: Final = logging.getLogger("dotflow_otel")


class BoundedLabels:
    """Lets the first values of each label through and turns further ones into `other`.

    A backend keeps a time series for every combination of values, for ever; a workflow
    that is named by a date or an id would fill it.

    Args:
        limit: How many values a label may have.
    """

    def __init__(self, limit: int = MAX_LABEL_VALUES) -> None:
        self._limit = limit
        self._lock = fork_safe_lock()
        self._seen: dict[str, set[str]] = {}
        self._warned: set[str] = set()

    def bounded(self, label: str, value: str) -> str:
        """Give the value itself, or `other` where the label has enough of them."""
        value = printable(value)
        seen = self._seen.get(label)
        if seen is not None and value in seen:
            return value
        with self._lock:
            seen = self._seen.setdefault(label, set())
            if value in seen or len(seen) < self._limit:
                seen.add(value)
                return value
            warned = label in self._warned
            self._warned.add(label)
        if not warned:
            _logger.warning(
                "the label %r has more than %d values: further ones, from %r on, count as %r",
                label,
                self._limit,
                value,
                OTHER,
            )
        return OTHER
