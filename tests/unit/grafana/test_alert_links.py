"""The alerts lead to boards that there are, and set variables that these have."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml
from grafana_board import BOARDS, FOLDER, read

_LINK = re.compile(r"/d/([\w-]+)(?:\?(\S*))?$")
# The time that a board shows at first.


_SPAN: Final = "6h"
_HOURS: Final = {"m": 1 / 60, "h": 1, "d": 24}


def _alerts() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        rule
        for file in sorted((FOLDER / "rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    return [rule for rule in rules if "alert" in rule]


def _links() -> list[tuple[str, str]]:
    return [(rule["alert"], rule["annotations"]["dashboard_url"]) for rule in _alerts()]


def _hours(span: str) -> float:
    return int(span[:-1]) * _HOURS[span[-1]]


def test_there_are_alerts() -> None:
    """The test below has something to look at."""
    assert len(_links()) >= 10


@pytest.mark.parametrize(("alert", "url"), _links())
def test_an_alert_leads_to_a_board(alert: str, url: str) -> None:
    """The link ends in a board's uid, and variables of that board."""
    plain = re.sub(r"\{\{.*?\}\}", "", url)
    found = _LINK.search(plain)
    assert found, plain
    assert found[1] in BOARDS
    has = {variable["name"] for variable in read(found[1])["templating"]["list"]}
    wanted = re.findall(r"(?:^|&)var-(\w+)=", found[2] or "")
    assert set(wanted) <= has
    times = re.findall(r"(?:^|&)from=now-\d+[hd]&to=now$", found[2] or "")
    assert (found[2] or "").count("=") == len(wanted) + 2 * len(times)


def test_boards_show_six_hours() -> None:
    """What a link shows that names no time."""
    assert {read(uid)["time"]["from"] for uid in BOARDS} == {f"now-{_SPAN}"}


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_a_link_shows_what_the_alert_looked_at(rule: dict[str, Any]) -> None:
    """The board shows at least the longest window of the alert, and how long it has been so."""
    windows = re.findall(r":ratio(\d+[mhd])\b|\[(\d+[mhd])\](?! offset)", rule["expr"])
    spans = [*(first or second for first, second in windows), rule.get("for", "0m")]
    looked = max(map(_hours, spans))
    shown = re.search(r"[?&]from=now-(\w+)&to=now$", rule["annotations"]["dashboard_url"])
    assert _hours(shown[1] if shown else _SPAN) >= looked
