"""Says what is wrong with rules for Prometheus that are made of dotflow's metrics.

    python grafana/check_rules.py [FILE...]

Without files: those of grafana/rules, and their tests. `promtool` finds what is no rule; this
finds besides what is one and never fires: a metric that dotflow does not have, a result that no
rule records, and what an alert must tell that does not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from dotflow_otel.conventions import HISTOGRAM, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RULES: Final = Path(__file__).parent / "rules"
BOARDS: Final = ("dotflow-overview", "dotflow-workflow", "dotflow-fleet")
SEVERITIES: Final = ("critical", "warning")

_SHOWN: Final = ("summary", "description", "dashboard_url")
_PARTS: Final = ("_bucket", "_count", "_sum")
# A metric, or the result of a rule: `level:metric:operations`.
_NAME: Final = re.compile(r"(?<![\w:])(?:dotflow_\w+|\w+:dotflow_\w+:\w+|dotflow:\w+:\w+)")
_MISSING: Final = "promtool is not installed: it comes with Prometheus (on Debian: prometheus)"


class Rule(NamedTuple):
    """One rule, and the file that it stands in."""

    file: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """What it records, or how the alert is called."""
        return str(self.content.get("alert") or self.content.get("record"))

    def __str__(self) -> str:
        return f"{self.file.name}: {self.name}"


def rules_of(files: Sequence[Path]) -> list[Rule]:
    """Return the rules of files that promtool finds right."""
    return [
        Rule(file, rule)
        for file in files
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def mistakes(files: Sequence[Path], tests: Sequence[Path] = ()) -> list[str]:
    """Return what is wrong with files of rules, a line each; promtool's own words where it is.

    Args:
        files: The files of rules.
        tests: Files of tests, as promtool reads them.
    """
    promtool = shutil.which("promtool")
    if promtool is None:
        return [_MISSING]
    absent = [f"{file}: there is no such file" for file in files if not file.is_file()]
    # Of two rules that record the same, such as two settings for one workflow, one is lost.
    wrong = absent or _said(promtool, "check", "rules", "--lint-fatal", *files)
    return wrong or [*_unfit(files), *(_said(promtool, "test", "rules", *tests) if tests else ())]


def _said(promtool: str, *arguments: str | Path) -> list[str]:
    done = subprocess.run(  # noqa: S603 - what was found under this name
        [promtool, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return []
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    return [line for line in lines if line and "FAILED:" not in line and "SUCCESS" not in line]


def _unfit(files: Sequence[Path]) -> Iterator[str]:
    rules = rules_of(files)
    # Rules of others may build on what ours record.
    all_rules = [*rules, *rules_of(sorted(RULES.glob("*.yml")))]
    known = {*_metrics(), *(rule.name for rule in all_rules if "record" in rule.content)}
    for rule in rules:
        for name in sorted(set(_NAME.findall(rule.content["expr"])) - known):
            meant = _meant(name, known)
            yield f"{rule} asks for {name}, which neither dotflow nor a rule gives{meant}"
        if "alert" in rule.content:
            yield from _untold(rule)


def _metrics() -> Iterator[str]:
    for metric in METRICS:
        if metric.kind == HISTOGRAM:
            yield from (f"{metric.name}{part}" for part in _PARTS)
        else:
            yield metric.name


def _meant(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f": is {close[0]} meant?" if close else ""


def _untold(rule: Rule) -> Iterator[str]:
    severity = rule.content.get("labels", {}).get("severity")
    if severity not in SEVERITIES:
        yield f"{rule} has the severity {severity!r}: use one of {', '.join(SEVERITIES)}"
    annotations = rule.content.get("annotations", {})
    yield from (
        f"{rule} has no {name}: add that annotation" for name in _SHOWN if not annotations.get(name)
    )
    board = re.search(r"/d/([\w-]+)", annotations.get("dashboard_url", ""))
    if board is not None and board[1] not in BOARDS:
        yield f"{rule} links to the board {board[1]}: use one of {', '.join(BOARDS)}"


def main(arguments: Sequence[str]) -> int:
    """Print what is wrong; give the exit code, 0 if nothing is."""
    files = [Path(each) for each in arguments] or sorted(RULES.glob("*.yml"))
    tests = [] if arguments else sorted(RULES.glob("tests/*.yml"))
    wrong = mistakes(files, tests)
    print("\n".join(wrong) or f"{len(rules_of(files))} rules, nothing wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
