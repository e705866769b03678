"""Four years of Seattle's weather: read, validate, aggregate, load, publish - and look at it.

    python examples/weather.py [FOLDER]

Shows the run's trace, metrics and logs in the terminal. What it makes goes to FOLDER, or to a
temporary folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from contextlib import closing
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import weather_report
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from dotflow import Config, Context, DotFlow, action
from dotflow.types import TypeStatus
from dotflow_otel import LogStructlog, observe, serve_metrics

SOURCE = Path(__file__).parent / "data" / "seattle-weather.csv"
KINDS = {"drizzle", "fog", "rain", "snow", "sun"}
MAX_REJECTED = 0.01  # of all rows

tracer = trace.get_tracer(__name__)


class Job(NamedTuple):
    """What every step is given: where things go, and who watches."""

    folder: Path
    config: Config


class Day(NamedTuple):
    """One day: millimetres, degrees Celsius, metres a second."""

    date: date
    rain: float
    high: float
    low: float
    wind: float
    kind: str


class Checked(NamedTuple):
    """What validation found."""

    days: list[Day]
    rejected: list[str]
    doubtful: Counter[str]


class Month(NamedTuple):
    """One month: sum of rain, means of the temperatures, the strongest wind."""

    year: int
    month: int
    days: int
    rain: float
    high: float
    low: float
    wind: float
    share: float = 0.0


# --- the steps --------------------------------------------------------------------------


@action
def read() -> list[dict[str, str]]:
    """Read the rows as they are."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@action
def validate(previous_context: Context) -> Checked:
    """Keep what is usable, and tell of what is not and of what contradicts itself."""
    rows = previous_context.storage
    checked = check(rows)
    if len(checked.rejected) > MAX_REJECTED * len(rows):
        raise ValueError(f"too many bad rows: {'; '.join(checked.rejected[:5])}")
    return checked


@action
def aggregate(initial_context: Context, previous_context: Context) -> list[Month]:
    """Sum the days up by month: a workflow of its own, each year a group in a worker process."""
    years = defaultdict(list)
    for day in previous_context.storage.days:
        years[day.date.year].append(day)

    flow = DotFlow(config=initial_context.storage.config, name="months")
    for year, days in years.items():
        flow.task.add(by_month, initial_context=days, group_name=str(year))
        flow.task.add(share_of_year, group_name=str(year))
    if flow.start(mode="parallel").failed:
        raise RuntimeError("not every year could be summed up")
    ends = [task for task in flow.result_task() if task.name == "share_of_year"]
    return [month for task in ends for month in task.current_context.storage]


@action
def by_month(initial_context: Context) -> list[Month]:
    """Sum one year's days up by month."""
    months = defaultdict(list)
    for day in initial_context.storage:
        months[day.date.year, day.date.month].append(day)
    return [summed_up(*key, days) for key, days in sorted(months.items())]


@action
def share_of_year(previous_context: Context) -> list[Month]:
    """Return each month's share of the year's rain."""
    months = previous_context.storage
    total = sum(month.rain for month in months)
    return [month._replace(share=round(month.rain / total, 4)) for month in months]


@action
def load(initial_context: Context, previous_context: Context) -> list[Month]:
    """Load the months into SQLite, and read them back."""
    months = previous_context.storage
    fields = ", ".join(Month._fields)
    places = ", ".join("?" * len(Month._fields))
    with closing(sqlite3.connect(initial_context.storage.folder / "weather.db")) as db, db:
        db.execute("DROP TABLE IF EXISTS months")
        db.execute(f"CREATE TABLE months ({fields}, PRIMARY KEY (year, month))")
        # A span of the step's own: a child of the task's.
        with tracer.start_as_current_span("insert months", kind=trace.SpanKind.CLIENT) as span:
            span.set_attribute("db.system.name", "sqlite")
            span.set_attribute("db.operation.batch.size", len(months))
            db.executemany(f"INSERT INTO months VALUES ({places})", months)  # noqa: S608
        loaded = db.execute("SELECT * FROM months ORDER BY year, month")
        return [Month(*row) for row in loaded]


@action(retry=3, retry_delay=0.1, backoff=True)
def publish(initial_context: Context, previous_context: Context) -> int:
    """Hand the months to a service that is too busy for its first two callers."""
    folder = initial_context.storage.folder
    with (folder / "calls").open("a+", encoding="utf-8") as calls:
        calls.write("call\n")
        calls.seek(0)
        number = len(calls.readlines())
    if number < publish.retry:
        raise ConnectionError(f"call {number}: the service is busy")
    months = [month._asdict() for month in previous_context.storage]
    (folder / "months.json").write_text(json.dumps(months, indent=1), encoding="utf-8")
    return len(months)


# --- what the steps use -----------------------------------------------------------------


def check(rows: list[dict[str, str]]) -> Checked:
    """Sort rows into days, rejected ones with their reasons, and doubtful days by reason."""
    checked = Checked([], [], Counter())
    seen: set[date] = set()
    for line, row in enumerate(rows, start=2):
        try:
            day = day_of(row)
            require(day.date not in seen, "its date occurs twice")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            checked.rejected.append(f"line {line}: {error}")
            continue
        seen.add(day.date)
        checked.days.append(day)
        checked.doubtful.update(doubts(day))
    ordered = sorted(seen)
    gaps = sum(after - before != timedelta(days=1) for before, after in pairwise(ordered))
    if gaps:
        checked.doubtful["a gap in the dates"] = gaps
    return checked


def day_of(row: dict[str, str]) -> Day:
    """Make a day of a row.

    Raises:
        ValueError: A value is none, or cannot be.
    """
    numbers = (float(row[name]) for name in ("precipitation", "temp_max", "temp_min", "wind"))
    day = Day(date.fromisoformat(row["date"].replace("/", "-")), *numbers, row["weather"])
    require(day.low <= day.high, f"lowest {day.low} above highest {day.high}")
    require(day.low > -40 and day.high < 60, f"{day.low} to {day.high} degrees")  # noqa: PLR2004
    require(0 <= day.rain < 1000, f"{day.rain} mm of rain")  # noqa: PLR2004
    require(0 <= day.wind < 100, f"wind of {day.wind} m/s")  # noqa: PLR2004
    require(day.kind in KINDS, f"unknown weather {day.kind!r}")
    return day


def require(holds: bool, otherwise: str) -> None:
    """Raise a ValueError where a condition does not hold."""
    if not holds:
        raise ValueError(otherwise)


def doubts(day: Day) -> list[str]:
    """Return in what a day contradicts itself."""
    found = {
        "sun, and rain fell": day.kind == "sun" and day.rain > 0,
        "rain or snow, and none fell": day.kind in {"rain", "snow"} and day.rain == 0,
        "snow, and never below 2 degrees": day.kind == "snow" and day.low > 2,  # noqa: PLR2004
    }
    return [doubt for doubt, holds in found.items() if holds]


def summed_up(year: int, month: int, days: list[Day]) -> Month:
    """Make a month of its days."""
    return Month(
        year,
        month,
        len(days),
        rain=round(sum(day.rain for day in days), 1),
        high=round(sum(day.high for day in days) / len(days), 1),
        low=round(sum(day.low for day in days) / len(days), 1),
        wind=max(day.wind for day in days),
    )


# --- the run, and a look at it ----------------------------------------------------------


def run(folder: Path) -> bool:
    """Run the pipeline in a folder and show what it tells of itself; tell whether it completed."""
    for name in ("calls", "months.json", "weather.log"):
        (folder / name).unlink(missing_ok=True)
    spans = InMemorySpanExporter()
    registry = CollectorRegistry()
    log = LogStructlog(output="file", path=folder / "weather.log", format="json")

    config = observe("weather", registry=registry, log=log)
    watch(spans)
    flow = DotFlow(config=config, name="weather")
    flow.task.add([read, validate, aggregate, load, publish], initial_context=Job(folder, config))
    manager = flow.start()
    log.close()

    tell(flow)
    weather_report.show_waterfall(spans.get_finished_spans())
    with serve_metrics(0, registry=registry) as server:
        weather_report.show_metrics(server.url)
    weather_report.show_logs(folder / "weather.log")
    weather_report.show_way_to_jaeger()
    return not manager.failed


def watch(spans: InMemorySpanExporter) -> None:
    """Collect a copy of all exported spans, to show them."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):  # which it is not with OTEL_SDK_DISABLED=true
        provider.add_span_processor(SimpleSpanProcessor(spans))


def tell(flow: DotFlow) -> None:
    """Say what came out, or what went wrong."""
    _, checked, _, months, published = flow.result_storage()
    for task in flow.result_task():
        if task.status == TypeStatus.FAILED:
            print(f"{task.name} failed: {task.errors[-1].exception}: {task.errors[-1].message}")
    if checked:
        print(f"{len(checked.days):,} days kept, {len(checked.rejected)} rows rejected.")
        for doubt, count in checked.doubtful.items():
            print(f"  {count} doubtful: {doubt}")
    if months:
        wettest = max(months, key=lambda month: month.rain)
        print(f"{len(months)} months loaded into weather.db, {published or 'none'} published.")
        print(
            f"The wettest: {wettest.year}-{wettest.month:02}, {wettest.rain} mm, "
            f"{wettest.share:.0%} of its year."
        )


def main() -> int:
    """Run in the folder that the command names, or in a temporary one; give the exit code."""
    parser = argparse.ArgumentParser(description="Run the weather pipeline and look at it.")
    parser.add_argument("folder", nargs="?", type=Path, help="keep the results here")
    folder = parser.parse_args().folder
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return 0 if run(folder) else 1
    with tempfile.TemporaryDirectory(prefix="weather-") as temporary:
        return 0 if run(Path(temporary)) else 1


if __name__ == "__main__":
    sys.exit(main())
