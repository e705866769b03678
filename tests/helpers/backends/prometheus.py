"""A Prometheus: scrapes, is asked for what it has, evaluates rules."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from backends.server import LISTEN, Server
from backends.waiting import PATIENCE, eventually
from needed import tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PACKAGE: Final = "apt-get install prometheus"
INTERVAL: Final = "250ms"  # between scrapes, and between evaluations of rules


class Sample(NamedTuple):
    """One series and its value at one time."""

    labels: dict[str, str]
    value: float


class Series(NamedTuple):
    """One series over time: pairs of a time in seconds and a value."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Exemplar(NamedTuple):
    """One exemplar: the labels of its series, its own labels, and its value."""

    series: dict[str, str]
    labels: dict[str, str]
    value: float


class Prometheus(Server):
    """A Prometheus that runs while it is entered.

    Args:
        folder: Where its files go.
        data: The folder of the data, as `backfill` makes one; None: an empty one.
        interval: Between scrapes, and between evaluations.
        rules: Files of rules.
        alertmanager: The address of an Alertmanager, if alerts are to be sent.
        targets: What it scrapes from the start, by job; it looks for further ones each five
            seconds only.
    """

    def __init__(
        self,
        folder: Path,
        *,
        data: Path | None = None,
        interval: str = INTERVAL,
        rules: Sequence[Path] = (),
        alertmanager: str | None = None,
        targets: Mapping[str, str] | None = None,
    ) -> None:
        self._file = folder / "prometheus.json"
        self._config: dict[str, Any] = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [_scraped(url, job) for job, url in (targets or {}).items()],
        }
        if alertmanager is not None:
            managers = [{"static_configs": [{"targets": [alertmanager]}]}]
            self._config["alerting"] = {"alertmanagers": managers}
        super().__init__(
            [
                tool("Prometheus", shutil.which("prometheus"), PACKAGE),
                f"--config.file={self._file}",
                f"--storage.tsdb.path={data or folder / 'data'}",
                "--storage.tsdb.retention.time=10y",
                LISTEN,
                # Else that is the name of this host, with port 0.
                "--web.external-url=http://127.0.0.1/",
                "--web.route-prefix=/",
                "--web.enable-lifecycle",
                "--enable-feature=exemplar-storage",
                "--rules.alert.resend-delay=1s",
            ],
            folder,
        )

    def __enter__(self) -> Self:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        return super().__enter__()

    # --- what it scrapes --------------------------------------------------------------

    def scrape(self, url: str, job: str, *, honor_labels: bool = False, **labels: str) -> None:
        """Scrape one target more from now on, and wait until that has happened once.

        Args:
            url: Of the metrics: `http://127.0.0.1:9464/metrics`.
            job: The label `job`.
            honor_labels: Whether `job` and `instance` of the metrics stay, as for a Pushgateway.
            **labels: Further labels of the target.
        """
        scraped = _scraped(url, job, honor_labels=honor_labels, **labels)
        self._config["scrape_configs"].append(scraped)
        self.reload()
        eventually(lambda: self.scrapes(job), f"a scrape of {url}")

    def scrapes(self, job: str) -> bool:
        """Return whether the last scrape of every target of a job went well."""
        targets = self.get_json("/api/v1/targets", state="active")["data"]["activeTargets"]
        of_job = [target for target in targets if target["labels"]["job"] == job]
        return bool(of_job) and all(target["health"] == "up" for target in of_job)

    def reload(self) -> None:
        """Write the configuration, and have it read.

        Raises:
            urllib.error.HTTPError: Prometheus refuses it; see `log`.
        """
        self._write()
        self.post("/-/reload")

    def _write(self) -> None:
        # JSON is YAML as well.
        self._file.write_text(json.dumps(self._config, indent=1), encoding="utf-8")

    # --- what it has ------------------------------------------------------------------

    def query(self, promql: str, time: float | None = None) -> list[Sample]:
        """Return the result of a query at a time in seconds; None: now.

        Raises:
            urllib.error.HTTPError: The query is wrong.
        """
        at = {} if time is None else {"time": time}
        data = self.get_json("/api/v1/query", query=promql, **at)["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in data["result"]]

    def query_range(self, promql: str, start: float, end: float, step: float = 1) -> list[Series]:
        """Return the result of a query between two times, each `step` seconds.

        Raises:
            urllib.error.HTTPError: The query is wrong.
        """
        data = self.get_json("/api/v1/query_range", query=promql, start=start, end=end, step=step)
        return [
            Series(each["metric"], [(float(at), float(value)) for at, value in each["values"]])
            for each in data["data"]["result"]
        ]

    def query_exemplars(self, promql: str, start: float, end: float) -> list[Exemplar]:
        """Return the exemplars of a query's series between two times, in seconds."""
        data = self.get_json("/api/v1/query_exemplars", query=promql, start=start, end=end)
        return [
            Exemplar(series["seriesLabels"], each["labels"], float(each["value"]))
            for series in data["data"]
            for each in series["exemplars"]
        ]

    def series(self, selector: str) -> list[dict[str, str]]:
        """Return the labels of all series that a selector finds."""
        found: list[dict[str, str]] = self.get_json("/api/v1/series", **{"match[]": selector})[
            "data"
        ]
        return found

    def awaited(self, promql: str, patience: float = PATIENCE) -> list[Sample]:
        """Return the result of a query as soon as it has one.

        Raises:
            AssertionError: It had none in time.
        """
        return eventually(lambda: self.query(promql), promql, patience)

    # --- what it thinks of it ---------------------------------------------------------

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        found: list[dict[str, Any]] = self.get_json("/api/v1/alerts")["data"]["alerts"]
        return found


def _scraped(url: str, job: str, *, honor_labels: bool = False, **labels: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "job_name": job,
        "metrics_path": parts.path or "/metrics",
        "honor_labels": honor_labels,
        "static_configs": [{"targets": [parts.netloc], "labels": labels}],
    }
