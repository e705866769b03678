"""Interrupts of a call, one after another, wherever Python handles signals."""

from __future__ import annotations

import dis
import os
import signal
import sys
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Final

from dotflow import Config, DotFlow
from dotflow.providers import LogDefault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from dotflow.providers import ExecutorLocal

# Signals are handled as a function begins, after a call, and as a loop begins again.
_HANDLING: Final = frozenset(
    number
    for name, number in dis.opmap.items()
    if name.startswith(("CALL", "JUMP_BACKWARD")) and "NO_INTERRUPT" not in name
)


class Interrupts:
    """Raises a KeyboardInterrupt at moments of a call within our packages.

    Args:
        gaps: How many moments pass before the first one, then before the next, and so on.
        modules: How the names of the modules begin in which a moment counts.
        after_first: Whether only moments after an interrupt by `InterruptingResult` count.
    """

    current: ClassVar[Interrupts | None] = None

    def __init__(
        self,
        gaps: Sequence[int],
        *,
        modules: tuple[str, ...] = ("dotflow",),
        after_first: bool = False,
    ) -> None:
        self._due = list(accumulate(gap + 1 for gap in gaps))
        self._last: dict[FrameType, int] = {}
        self._modules = modules
        self._moments = 0
        self._counts = not after_first
        Interrupts.current = self

    def count(self) -> None:
        """Have moments count from now on."""
        self._counts = True

    @property
    def came(self) -> int:
        """How many of them were raised."""
        return sum(due <= self._moments for due in self._due)

    def within(self, call: Callable[[], object]) -> None:
        """Make a call; an interrupt that gets out of it is not raised."""
        before = sys.gettrace(), sys.getprofile()
        sys.setprofile(self._trace_again)
        sys.settrace(self._trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(before[1])
            sys.settrace(before[0])
            self._last.clear()

    def _trace_again(self, frame: FrameType | None, event: str, _: Any) -> None:
        # Python drops a trace function that has raised.
        if sys.gettrace() is not None:
            return
        if event == "return" and frame is not None:
            frame = frame.f_back  # which goes on
        while frame is not None and frame.f_code is not Interrupts.within.__code__:
            if frame.f_globals.get("__name__", "").startswith(self._modules):
                frame.f_trace, frame.f_trace_opcodes = self._trace, True
                self._last[frame] = 0
            frame = frame.f_back
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_globals.get("__name__", "").startswith(self._modules):
            return None
        frame.f_trace_opcodes = True
        if event == "call":
            self._moment()
        elif event == "exception":
            self._last[frame] = 0  # a call that raises goes on where that is handled
        elif event == "opcode":
            if self._last.get(frame) in _HANDLING:
                self._last[frame] = 0
                self._moment()
            self._last[frame] = frame.f_code.co_code[frame.f_lasti]
        return self._trace

    def _moment(self) -> None:
        if self._counts:
            self._moments += 1
            if self._moments in self._due:
                raise KeyboardInterrupt


def interrupt_owner(owner: int) -> None:
    """Interrupt that process as Ctrl-C does; further interrupts count from then on."""
    if os.getpid() == owner:
        assert Interrupts.current is not None
        Interrupts.current.count()
        signal.raise_signal(signal.SIGINT)


class InterruptingResult:
    """What interrupts its reader, where that is the owner."""

    def __init__(self, owner: int) -> None:
        self._owner = owner

    def __reduce__(self) -> tuple[Any, ...]:
        return interrupt_owner, (self._owner,)


def flow_on(executor: ExecutorLocal, *steps: Any) -> DotFlow:
    """Make a workflow that logs to nowhere."""
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(list(steps))
    return flow
