"""How many attempts an executor has at a time at most, counted: peers get as many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.abc.executor import Executor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.abc.executor import Session


class Counting(Executor):
    """Another executor, whose attempts are counted.

    Attributes:
        most: The most that there were at a time.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.most = 0

    def session(self) -> Session:
        """Begin the use by one run."""
        session: Any = self.executor.session()
        submit, wait, current = session.submit, session.wait, 0

        def counted_submit(*given: Any) -> None:
            nonlocal current
            current += 1
            self.most = max(self.most, current)
            submit(*given)

        def counted_wait(*given: Any) -> Sequence[tuple[int, Any]]:
            nonlocal current
            ended = wait(*given)
            current -= len(ended)
            return ended

        session.submit, session.wait = counted_submit, counted_wait
        return session
