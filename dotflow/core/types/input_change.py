"""What a resumed run does when its input is not what the checkpoints were made from."""

from __future__ import annotations

from typing import Final


class TypeInputChange:
    """Policies for `DotFlow.start(on_input_change=...)`."""

    REUSE: Final = "reuse"
    RESET: Final = "reset"
    RAISE: Final = "raise"


VALID_POLICIES: Final = (TypeInputChange.REUSE, TypeInputChange.RESET, TypeInputChange.RAISE)
