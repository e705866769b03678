"""The execution modes that have a name of their own."""

from __future__ import annotations

from typing import Final


class TypeExecution:
    """Modes for `DotFlow.start(mode=...)`; the literals may be passed as well."""

    SEQUENTIAL: Final = "sequential"
    BACKGROUND: Final = "background"
    PARALLEL: Final = "parallel"
