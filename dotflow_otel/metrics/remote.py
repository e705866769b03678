"""What is counted in workers: the runs of steps that run workflows, and what steps measure.

It comes back with the outcome of the attempt, so that a run in a worker that is killed is neither
started nor lost; what steps measure with OpenTelemetry comes while they go on.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dotflow_otel._process import Process, is_forked_from, this_process
from dotflow_otel.metrics.instruments import counted_here, owners

if TYPE_CHECKING:
    from collections.abc import Callable


class RemoteMetrics:
    """Brings back what is counted in a worker: the scope of a worker.

    Args:
        owner: Identifies the process that owns the run.
        meters: Whether steps can measure with OpenTelemetry's meters.

    Attributes:
        on_recorded: Called with how much waits.
    """

    on_recorded: Callable[[int], object] | None = None

    def __init__(self, owner: Process, meters: bool) -> None:
        self._sent = owner, meters

    @classmethod
    def here(cls) -> RemoteMetrics:
        """Make one for the workers of this process."""
        # Where nobody has imported them, nobody has set a provider.
        meters = False
        if "opentelemetry.metrics" in sys.modules:
            from dotflow_otel.metrics import relay  # noqa: PLC0415 - where it is used

            meters = relay.has_meters()
            if meters:
                relay.let_meters_travel()
        return cls(this_process(), meters)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteMetrics, self._sent

    def prepare(self) -> None:
        """Begin to keep what is counted."""
        owner, meters = self._sent
        if owner == this_process() or is_forked_from(owner):
            return
        owners.begin(owner)
        counted_here.is_on, counted_here.on_put = True, self.on_recorded
        if meters:
            from dotflow_otel.metrics.relay import meter_relay_here  # noqa: PLC0415 - as above

            meter_relay_here().begin(self.on_recorded)

    def _measured(self, *, own: bool) -> Any:
        owner, meters = self._sent
        if not meters:
            return None
        from dotflow_otel.metrics.relay import meter_relay_here  # noqa: PLC0415 - as above

        return meter_relay_here().take(owner, own=own)

    def drain(self) -> Any:
        """Return what steps have measured since this was last called, if anything."""
        measured = self._measured(own=False)
        return None if measured is None else (None, measured)

    def collect(self) -> Any:
        """Return that, and what our metrics have counted."""
        counted, measured = counted_here.take(self._sent[0]), self._measured(own=True)
        return None if counted is measured is None else (counted, measured)


def receive(recorded: Any) -> None:
    """Count and measure in this process what `RemoteMetrics` has brought."""
    counted, measured = recorded
    if measured is not None:
        from dotflow_otel.metrics.relay import meters  # noqa: PLC0415 - where it is used

        meters.measure(measured)
    if counted is not None:
        from dotflow_otel.metrics.instruments_prometheus import count_in_registry  # noqa: PLC0415 - as above

        count_in_registry(counted)
