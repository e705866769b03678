"""The rules for Prometheus: each is tested, and each mistake in them is told of."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from backends.promtool import promtool

ROOT = Path(__file__).parents[2]
CHECKER = ROOT / "grafana" / "check_rules.py"
RULES = ROOT / "grafana" / "rules"
FILES = sorted(RULES.glob("*.yml"))
TESTS = sorted(RULES.glob("tests/*.yml"))
FIRING = re.compile(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}')

# What is set is there, whatever the data.
SETTINGS = "dotflow-settings.yml"


def rules() -> list[tuple[str, dict[str, Any]]]:
    """Return each rule, and the name of its file."""
    return [
        (file.name, rule)
        for file in FILES
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


@cache
def questions() -> list[tuple[str, bool]]:
    """Return which rule each test asks for, and whether it expects a result."""
    return [
        (found[1] if (found := FIRING.fullmatch(asked["expr"])) else asked["expr"], bool(expected))
        for file in TESTS
        for group in yaml.safe_load(file.read_text("utf-8"))["tests"]
        for asked in group["promql_expr_test"]
        for expected in [asked["exp_samples"]]
    ]


def check(*files: Path) -> tuple[int, list[str]]:
    """Run the checker; give its exit code and the lines it prints."""
    done = subprocess.run(
        [sys.executable, CHECKER, *files], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_rules(file: Path) -> None:
    """The tests of the rules pass."""
    verdict = promtool("test", "rules", file)
    assert verdict.ok, verdict.said


def test_there_are_rules() -> None:
    """None is overlooked here: promtool counts as many."""
    verdict = promtool("check", "rules", *FILES)
    assert verdict.ok, verdict.said
    counted = re.findall(r"(\d+) rules found", verdict.said)
    assert sum(map(int, counted)) == len(rules()) == 52


@pytest.mark.parametrize(
    ("file", "rule"), rules(), ids=[rule.get("alert") or rule["record"] for _, rule in rules()]
)
def test_every_rule_has_a_pair_of_tests(file: str, rule: dict[str, Any]) -> None:
    """One test in which the rule has a result, or the alert fires, and one in which not."""
    name = rule.get("alert") or rule["record"]
    answers = {answer for asked, answer in questions() if asked == name}
    assert answers >= ({True} if file == SETTINGS else {True, False})


# By alert, as the Site Reliability Workbook has it: the share of the budget of 30 days that is
# spent in the long window, and both windows, in hours. The short one is a twelfth of the long.
BURNS = {
    "DotflowErrorBudgetGoneIn2Days": (0.02, 1),
    "DotflowErrorBudgetGoneIn5Days": (0.05, 6),
    "DotflowErrorBudgetGoneIn10Days": (0.1, 24),
    "DotflowErrorBudgetGoneIn30Days": (0.1, 72),
}
MINUTES = {"m": 1, "h": 60, "d": 1440}


@pytest.mark.parametrize(("name", "burn"), BURNS.items())
def test_burn_rates(name: str, burn: tuple[float, int]) -> None:
    """Factor and windows follow from the share of the budget; the name from the factor."""
    part, hours = burn
    (rule,) = (rule for _, rule in rules() if rule.get("alert") == name)
    factors = re.findall(r"(?:([\d.]+) \* )?\(1 - job_workflow:dotflow_objective", rule["expr"])
    windows = [
        int(number) * MINUTES[unit]
        for number, unit in re.findall(r":ratio(\d+)([mhd])", rule["expr"])
    ]
    factor = part * 30 * 24 / hours
    assert [float(each or 1) for each in factors] == pytest.approx([factor, factor])
    assert windows == [hours * 60, hours * 60 / 12]
    assert name == f"DotflowErrorBudgetGoneIn{30 / factor:.0f}Days"


@pytest.mark.parametrize(
    ("condition", "fails"),
    [("vector(1) > 2", r"exp: \{"), ("vector(1)", "exp: nil")],
    ids=["never", "always"],
)
def test_the_tests_of_alerts_can_fail(condition: str, fails: str, tmp_path: Path) -> None:
    """Each alert has a test that fails if it never fires, and one that fails if it always does."""
    changed = _with_condition(condition, tmp_path / "changed.yml")
    tests = [_of_alerts(test, changed, tmp_path) for test in TESTS]
    said = promtool("test", "rules", *tests).said
    alerts = {rule["alert"] for _, rule in rules() if "alert" in rule}
    failed = re.findall(rf'expr: "ALERTS\{{alertname=\\"(\w+)\\".*\n\s*{fails}', said)
    assert set(failed) == alerts


def _with_condition(condition: str, file: Path) -> Path:
    content = yaml.safe_load((RULES / "dotflow-alerts.yml").read_text("utf-8"))
    for group in content["groups"]:
        for rule in group["rules"]:
            rule["expr"] = condition
            rule.pop("annotations")  # filling them in takes the longest
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def _of_alerts(test: Path, changed: Path, folder: Path) -> Path:
    content = yaml.safe_load(test.read_text("utf-8"))
    content["rule_files"] = [str(changed)]
    content["evaluation_interval"] = "4m"
    for group in content["tests"]:
        group["promql_expr_test"] = [
            asked for asked in group["promql_expr_test"] if FIRING.fullmatch(asked["expr"])
        ]
    file = folder / test.name
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


# --- the checker ------------------------------------------------------------------------


def alert(expression: str, **changes: Any) -> str:
    """Return a file of rules with one alert."""
    rule: dict[str, Any] = {
        "alert": "Mine",
        "expr": expression,
        "labels": {"severity": "warning"},
        "annotations": {
            "summary": "s",
            "description": "d",
            "dashboard_url": "http://localhost:3000/d/dotflow-overview",
        },
    }
    rule.update(changes)
    return yaml.safe_dump({"groups": [{"name": "mine", "rules": [rule]}]})


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return the path of a user's file of rules."""
    promtool("--version")  # or skip
    return tmp_path / "mine.yml"


def test_the_checker_finds_nothing(mine: Path) -> None:
    """A file that builds on our metrics and on what our rules record is right."""
    mine.write_text(alert("job_workflow:dotflow_period:seconds > dotflow_workers_busy"), "utf-8")
    assert check(mine) == (0, ["1 rules, nothing wrong"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            alert("dotflow_workflow_fail_total > 0"),
            (
                "mine.yml: Mine asks for dotflow_workflow_fail_total, which neither dotflow nor"
                " a rule gives: is dotflow_workflow_failed_total meant?"
            ),
        ),
        (
            alert("dotflow_task_duration_seconds > 9"),
            (
                "mine.yml: Mine asks for dotflow_task_duration_seconds, which neither dotflow nor a"
                " rule gives: is dotflow_task_duration_seconds_sum meant?"
            ),
        ),
        (
            alert("dotflow:perod:seconds > 0"),
            (
                "mine.yml: Mine asks for dotflow:perod:seconds, which neither dotflow nor a rule"
                " gives: is dotflow:period:seconds meant?"
            ),
        ),
        (
            alert("dotflow_workers > 0", labels={"severity": "catastrophic"}),
            "mine.yml: Mine has the severity 'catastrophic': use one of critical, warning",
        ),
        (
            alert("dotflow_workers > 0", annotations={"summary": "s", "dashboard_url": "/d/x"}),
            "mine.yml: Mine has no description: add that annotation",
        ),
        (
            alert("dotflow_workers > 0", annotations={"summary": "s", "dashboard_url": "/d/x"}),
            (
                "mine.yml: Mine links to the board x: use one of dotflow-overview,"
                " dotflow-workflow, dotflow-fleet"
            ),
        ),
        (alert("sum(dotflow_workers"), "unclosed left parenthesis"),
        ("groups: [{name: mine, rules: [{alert: A, exp: 1}]}]", "field exp not found"),
    ],
)
def test_the_checker_names_the_mistake(mine: Path, text: str, said: str) -> None:
    """It says which rule, which word of it, and what may have been meant."""
    mine.write_text(text, "utf-8")
    code, lines = check(mine)
    assert code == 1
    assert any(said in line for line in lines), lines


def test_the_checker_finds_a_setting_that_is_set_twice(mine: Path) -> None:
    """Of two settings for one workflow only one would count: both are named by what they set."""
    twice = [
        {"record": "dotflow:period:seconds", "expr": value, "labels": {"workflow": "invoices"}}
        for value in ("vector(3600)", "vector(7200)")
    ]
    mine.write_text(yaml.safe_dump({"groups": [{"name": "mine", "rules": twice}]}), "utf-8")
    code, lines = check(mine)
    assert code == 1
    assert "lint error 1 duplicate rule(s) found." in lines
    assert "Metric: dotflow:period:seconds" in lines
    assert "workflow: invoices" in lines


def test_the_checker_misses_a_file(mine: Path) -> None:
    """A file that is not there is named."""
    assert check(mine) == (1, [f"{mine}: there is no such file"])


def test_the_checker_misses_promtool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without promtool it says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check() == (
        1,
        ["promtool is not installed: it comes with Prometheus (on Debian: prometheus)"],
    )
