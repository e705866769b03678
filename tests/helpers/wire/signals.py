"""What the program `signals.py` sends of its one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from wire.spans import Node, roots

if TYPE_CHECKING:
    from wire.otlp import Received
    from wire.sender import Done


class Signals(NamedTuple):
    """The run as it was told, and all that came of it.

    Attributes:
        mode: The mode that the run was started in.
        began: When it began, in nanoseconds since the epoch.
        ended: When it ended, likewise.
        root: The span of the workflow.
        sent: The requests.
    """

    mode: str
    began: int
    ended: int
    root: Node
    sent: Received

    @classmethod
    def of(cls, mode: str, done: Done) -> Self:
        """Read what the program printed and sent."""
        began, ended = map(int, done.printed.split())
        (root,) = roots(done.sent.traces)
        return cls(mode, began, ended, root, done.sent)
