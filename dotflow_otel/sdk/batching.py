"""How a batch processor collects its items, as the standard OTEL_* variables say."""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from dotflow_otel.sdk.account import OWN, RESERVE
from dotflow_otel.sdk.variables import setting

_logger: Final = logging.getLogger("dotflow_otel")


class Batching(NamedTuple):
    """The settings of a batch processor.

    Attributes:
        queue: How many items may be queued.
        batch: How many are exported at once, at most.
        delay: How long items wait to be exported, in milliseconds.
        timeout: How long an export may take, in milliseconds.
    """

    queue: int
    batch: int
    delay: int
    timeout: int

    @classmethod
    def of(cls, prefix: str, delay: int) -> Batching:
        """Read the variables of a processor.

        Args:
            prefix: `OTEL_BSP` (spans) or `OTEL_BLRP` (log records).
            delay: The default of the delay, in milliseconds.
        """
        queue = setting(f"{prefix}_MAX_QUEUE_SIZE", 2048)
        batch = setting(f"{prefix}_MAX_EXPORT_BATCH_SIZE", min(512, queue))
        if batch > queue:
            _logger.warning(
                "%s_MAX_EXPORT_BATCH_SIZE=%d is more than fits in the queue of %d: that counts",
                prefix,
                batch,
                queue,
            )
            batch = queue
        return cls(
            queue,
            batch,
            setting(f"{prefix}_SCHEDULE_DELAY", delay),
            setting(f"{prefix}_EXPORT_TIMEOUT", 30_000),
        )

    def arguments(self) -> dict[str, Any]:
        """Give the arguments of the SDK's batch processors, with room for the reserves."""
        return {
            "max_queue_size": self.queue + OWN + RESERVE,
            "schedule_delay_millis": self.delay,
            "max_export_batch_size": self.batch,
            "export_timeout_millis": self.timeout,
        }
