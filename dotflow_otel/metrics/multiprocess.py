"""prometheus-client's multiprocess mode: one service in several processes, as under gunicorn.

It is on where `PROMETHEUS_MULTIPROC_DIR` is set when prometheus-client is first imported.
Every process then writes its values into files of that folder, and whoever shows them adds
up what all have written. There are no exemplars in this mode.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector, RestrictedRegistry

from dotflow.core.arguments import check_count, strict_arguments
from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names
from dotflow_otel.metrics.errors import check_registry

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


@strict_arguments
def worker_exited(pid: int) -> None:
    """Take the gauges of a process that has ended out of the sums over all processes.

    What it counted stays. Call it in gunicorn's hook `child_exit(server, worker)`, with
    `worker.pid`. Does nothing where the multiprocess mode is off.

    Args:
        pid: The id of the process.

    Raises:
        InvalidOption: `pid` is no such number.
    """
    check_count("pid", pid, optional=False)
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def check_folder() -> None:
    """Check the folder that the processes write to, if they do.

    Raises:
        InvalidOption: It is not there.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and not Path(folder).is_dir():
        hint = "make this folder, empty, before the service starts, or unset the variable"
        raise InvalidOption(FOLDER_VARIABLE, folder, hint)


def shown(registry: CollectorRegistry | None) -> CollectorRegistry:
    """Return the registry to read from: in multiprocess mode one that adds all processes up.

    Of a registry other than prometheus-client's own, the metrics are shown that it has in
    this process. What is in no file, such as a collector of the application's own, is shown
    as this process has it.

    Args:
        registry: Whose metrics; None: prometheus-client's own.

    Raises:
        InvalidOption: `registry` is none, or the folder of the multiprocess mode is not there.
    """
    check_registry(registry, "collect")
    own = REGISTRY if registry is None else registry
    if not os.environ.get(FOLDER_VARIABLE):
        return own
    check_folder()
    read = _Registry()
    read.register(_AcrossProcesses(None if own is REGISTRY else own))
    return read


class _Registry(CollectorRegistry):
    # The names in the files are known when they are read alone. A registry that is to give
    # some of its metrics looks for them in collectors whose names it knows, as `name[]` asks.
    def restricted_registry(self, names: Iterable[str]) -> RestrictedRegistry:
        return _Restricted(names, self)


class _Restricted(RestrictedRegistry):
    def __init__(self, names: Iterable[str], registry: CollectorRegistry) -> None:
        self._names = frozenset(names)
        self._all = registry

    def collect(self) -> Iterable[Family]:
        for family in self._all.collect():
            samples = [sample for sample in family.samples if sample.name in self._names]
            if samples:
                some = Family(family.name, family.documentation, family.type, family.unit)
                some.samples = samples
                yield some


class _AcrossProcesses(Collector):
    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._files = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        self._registry = registry

    def collect(self) -> Iterable[Family]:
        families: Iterable[Family] = self._files.collect()  # type: ignore[no-untyped-call]
        summed = {family.name: family for family in families}
        oldest = summed.get(names.WORKFLOW_OLDEST_START.name)
        if oldest is not None:
            summed[oldest.name] = _least_start(oldest)
        if self._registry is None:
            return summed.values()
        return [summed.get(family.name, family) for family in self._registry.collect()]


def _least_start(family: Family) -> Family:
    # One value for each live process comes in. The least is 0 where any of them is idle, so
    # what counts is the least of those that are not.
    starts: dict[str, float] = {}
    (label,) = names.WORKFLOW_OLDEST_START.labels
    for sample in family.samples:
        known = starts.setdefault(sample.labels[label], 0.0)
        if sample.value and (not known or sample.value < known):
            starts[sample.labels[label]] = sample.value
    least = Family(family.name, family.documentation, family.type)
    for workflow, start in starts.items():
        least.add_sample(family.name, {label: workflow}, start)
    return least
