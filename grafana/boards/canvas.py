"""Draws boxes and text to SVG."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

SANS: Final = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO: Final = "ui-monospace, 'DejaVu Sans Mono', monospace"

# How wide a letter is, as a part of the size of its font. No font is at hand to ask.
_WIDTHS: Final = {SANS: 0.56, MONO: 0.62}


class Canvas:
    """An SVG that is drawn on from the top.

    Args:
        width: In pixels.
        label: What it shows, for those who do not see it.
    """

    def __init__(self, width: float, label: str) -> None:
        self._width = width
        self._root = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
        ET.SubElement(self._root, "title").text = label
        self._paper = ET.SubElement(self._root, "rect", width="100%", height="100%")

    def box(self, at: Place, fill: str, stroke: str = "none", radius: float = 4) -> None:
        """Draw a box."""
        x, y, width, height = at
        places = {"x": x, "y": y, "width": width, "height": height, "rx": radius}
        attributes = {name: f"{value:g}" for name, value in places.items()}
        ET.SubElement(self._root, "rect", attributes, fill=fill, stroke=stroke)

    def text(
        self,
        at: tuple[float, float],
        text: str,
        color: str,
        size: float = 12,
        *,
        font: str = SANS,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        """Write one line, whose base begins, ends or has its middle at a point."""
        x, y = at
        style = {"font-family": font, "font-size": f"{size:g}", "fill": color}
        if bold:
            style["font-weight"] = "600"
        if anchor != "start":
            style["text-anchor"] = anchor
        element = ET.SubElement(self._root, "text", {"x": f"{x:g}", "y": f"{y:g}", **style})
        element.text = text

    def path(self, points: str, at: tuple[float, float], color: str) -> None:
        """Draw a line or shape whose path begins at a point of its own."""
        x, y = at
        attributes = {"d": points, "transform": f"translate({x:g} {y:g})", "stroke": color}
        shape = ET.SubElement(self._root, "path", attributes, fill="none")
        shape.set("stroke-width", "1.6")
        shape.set("stroke-linejoin", "round")

    def to_svg(self, height: float, paper: str) -> str:
        """Return the SVG, of a height in pixels and on paper of a colour."""
        self._root.set("viewBox", f"0 0 {self._width:g} {height:g}")
        self._root.set("width", f"{self._width:g}")
        self._root.set("height", f"{height:g}")
        self._paper.set("fill", paper)
        ET.indent(self._root, "")
        return ET.tostring(self._root, encoding="unicode") + "\n"


# Left, top, width and height in pixels.
Place = tuple[float, float, float, float]


def fitted(text: str, width: float, size: float, lines: int, font: str = SANS) -> Sequence[str]:
    """Break a text into lines of a width in pixels; the last of too many ends with dots."""
    letters = max(8, int(width / (size * _WIDTHS[font])))
    return textwrap.wrap(text, letters, max_lines=lines, placeholder=" …") if lines > 0 else ()


def width_of(text: str, size: float, font: str = SANS) -> float:
    """Return about how wide a line is, in pixels."""
    return len(text) * size * _WIDTHS[font]
