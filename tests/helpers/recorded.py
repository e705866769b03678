"""A config whose runs are recorded in a history, and the history to read them from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from observed import Observed
from waiting import wait_for

from dotflow_otel.history.reader import History
from dotflow_otel.history.recording import forget, record

if TYPE_CHECKING:
    from pathlib import Path

    from dotflow_otel.history.reader import RunInfo


class RecordedRuns(Observed):
    """Runs that are observed, and recorded in a history at a path.

    Args:
        path: The file.
        limits: How much it keeps.
        recovers: Whether lost runs are looked for.
        provider_options: Of the provider of tracers.
    """

    def __init__(
        self, path: Path, limits: Any = None, *, recovers: bool = True, **provider_options: Any
    ) -> None:
        super().__init__(**provider_options)
        self.path = path
        options = {"recovers": recovers, **({} if limits is None else {"limits": limits})}
        found = record(self.config, path, **options)
        assert found is not None
        self.recorder = found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        forget(self.recorder)
        self.provider.shutdown()

    def history(self) -> History:
        """Return the history, with all that was recorded until now."""
        assert self.recorder.flush(20)
        return History(self.path)

    def only(self) -> tuple[RunInfo, History]:
        """Return the only run, and the history."""
        history = self.history()
        (run,) = history.runs()
        return run, history

    def wait_for_status(self, status: str, count: int = 1) -> None:
        """Wait until so many runs have a status in the file."""
        with History(self.path) as history:
            wait_for(lambda: len(history.runs(status=status)) == count, 20)
