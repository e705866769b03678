"""An error whose text is as long as a file: what is told of it is short, in every mode."""

from __future__ import annotations

import pytest
from log_records import own_records
from observed import Observed
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from dotflow import action
from dotflow_otel.plain import TEXT_LIMIT, bounded

MODES = ("sequential", "sequential_group", "background", "parallel")
LENGTH = 1_000_000


@action(retry=3, retry_delay=0)
def fails() -> None:
    """Fail with a text of 1 MB."""
    raise ValueError(f"begins {'x' * LENGTH} ends")


class Pipe:
    """Has a method that fails so."""

    @action
    def method(self) -> None:
        """Fail."""
        raise ValueError(f"begins {'y' * LENGTH} ends")


@action
def builds() -> Pipe:
    """Return one whose method fails."""
    return Pipe()


@pytest.mark.parametrize("limit", [None, 200])
@pytest.mark.parametrize("mode", MODES)
def test_spans_and_lines(mode: str, limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a run's spans fit into a request; each text tells how much of it was cut."""
    if limit is not None:
        monkeypatch.setenv(TEXT_LIMIT, str(limit))
    most = limit or 8192
    observed = Observed()
    manager = observed.run(fails, builds, mode=mode, keep_going=True)
    assert len(encode_spans(observed.finished).SerializeToString()) < 200_000
    events = [event.attributes or {} for span in observed.finished for event in span.events]
    parts = ("exception.message", "exception.stacktrace")
    texts = [str(event[part]) for event in events for part in parts]
    texts += [str(span.status.description) for span in observed.finished if span.status.description]
    fields = ("error", "exception")
    texts += [str(line[key]) for line in observed.events for key in fields if key in line.fields]
    assert len(texts) > 20
    for text in texts:
        assert len(text) <= most + len("task builds:  (2 tasks failed)")
        assert "characters cut] ..." in text
        assert text.rstrip(")\n").endswith(("ends", "failed"))
    line = observed.event("task.failed", task="fails")
    assert line["error"].startswith("begins xxx")
    assert line["exception"].startswith("Traceback (most recent call last):")
    # What the program itself has is whole.
    assert len(manager.tasks[0].errors[-1].message) == LENGTH + len("begins  ends")


@pytest.mark.parametrize("length", [100, 101, 150, 8192, 8193, 20_000])
def test_bounded(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits stays; of the rest as much as fits, with the number of what was cut."""
    monkeypatch.setenv(TEXT_LIMIT, "100")
    text = "".join(chr(ord("a") + i % 26) for i in range(length))
    told = bounded(text)
    if length == 100:
        assert told == text
        return
    assert len(told) <= 100
    first, _, rest = told.partition("... [")
    count, _, last = rest.partition(" characters cut] ...")
    assert text.startswith(first)
    assert text.endswith(last)
    assert len(first) + int(count) + len(last) == length


@pytest.mark.parametrize("wrong", ["many", "-1", "99", "1.5"])
def test_a_limit_that_is_none(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The default counts, with one warning."""
    monkeypatch.setenv(TEXT_LIMIT, wrong)
    assert {len(bounded("x" * LENGTH)) for _ in range(2)} == {8191}  # a digit less was cut
    (record,) = own_records(caplog)
    assert record.getMessage() == (
        f"{TEXT_LIMIT}={wrong!r} is not valid, so 8192 counts: give a whole number of characters, "
        "100 or more"
    )
