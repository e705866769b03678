"""The alerts lead to boards that there are, and set variables that these have."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from grafana_board import BOARDS, FOLDER, read

_LINK = re.compile(r"/d/([\w-]+)(?:\?(\S*))?$")


def _links() -> list[tuple[str, str]]:
    rules: list[dict[str, Any]] = [
        rule
        for file in sorted((FOLDER / "rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    return [
        (rule["alert"], rule["annotations"]["dashboard_url"]) for rule in rules if "alert" in rule
    ]


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
    assert (found[2] or "").count("=") == len(wanted)
