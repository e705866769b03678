"""What drawings call each kind of panel, and a sign for it."""

from __future__ import annotations

from typing import Final, NamedTuple

from dotflow.core.exception import InvalidOption


class Kind(NamedTuple):
    """A kind of panel.

    Attributes:
        name: What drawings call it.
        sign: A path in a square of 18 pixels.
    """

    name: str
    sign: str


_KINDS: Final = {
    "bargauge": Kind("bars", "M1 3h16v3H1z M1 8h11v3H1z M1 13h6v3H1z"),
    "heatmap": Kind(
        "heatmap", "M1 1h16v16H1z M1 6.3h16 M1 11.6h16 M6.3 1v16 M11.6 1v16 M6.3 8.5h5.3"
    ),
    "logs": Kind("log lines", "M1 3h16 M1 7h11 M1 11h16 M1 15h8"),
    "stat": Kind("number", "M4 5l3-2v12 M11 3h4v5.5h-4z M11 15h4v-6.5"),
    "table": Kind("table", "M1 2h16v14H1z M1 6.5h16 M1 11.2h16 M7 2v14"),
    "timeseries": Kind("graph", "M1 1v16h16 M3.5 12.5l4-5 3.5 3 5.5-7.5"),
}


def kind_of(panel_type: str) -> Kind:
    """Describe a panel's kind.

    Args:
        panel_type: As Grafana calls it.

    Raises:
        InvalidOption: Drawings have no sign for it.
    """
    if panel_type not in _KINDS:
        expected = f"drawings know {', '.join(_KINDS)}; add a sign for it in boards/icons.py"
        raise InvalidOption("panel", panel_type, expected)
    return _KINDS[panel_type]
