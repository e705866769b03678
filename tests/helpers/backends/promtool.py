"""promtool and amtool: what checks, tests and makes the files of Prometheus and Alertmanager."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from backends import alertmanager, prometheus
from needed import tool

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE: Final = 60.0  # seconds


class Verdict(NamedTuple):
    """What a tool said, and whether it found nothing wrong."""

    ok: bool
    said: str


def promtool(*arguments: str | Path, stdin: str | None = None) -> Verdict:
    """Run promtool, or skip the test where there is none."""
    return _run(
        tool("promtool", shutil.which("promtool"), prometheus.PACKAGE), *arguments, stdin=stdin
    )


def amtool(*arguments: str | Path) -> Verdict:
    """Run amtool, or skip the test where there is none."""
    return _run(tool("amtool", shutil.which("amtool"), alertmanager.PACKAGE), *arguments)


def backfill(openmetrics: str, folder: Path) -> Path:
    """Make blocks of samples that have a time, for `Prometheus(data=...)`.

    Args:
        openmetrics: Lines of OpenMetrics, each with its time in seconds, `# EOF` at the end.
            Samples of one series need not be in one place, but must be in the order of time.
            Exemplars are not kept.
        folder: Where the blocks go; made if need be.

    Raises:
        AssertionError: promtool refuses the text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f"{folder.name}.openmetrics"
    file.write_text(openmetrics, encoding="utf-8")
    verdict = promtool("tsdb", "create-blocks-from", "openmetrics", file, folder)
    assert verdict.ok, verdict.said
    return folder


def _run(program: str, *arguments: str | Path, stdin: str | None = None) -> Verdict:
    done = subprocess.run(
        [program, *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    return Verdict(done.returncode == 0, done.stdout)
