"""One line of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from processes import Pair

HEADER = "| what | here | beside it | which is | ratio | bar | met |\n|---|---|---|---|---|---|---|"


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        what: What is measured.
        unit: Of the figures.
        figures: Ours, and the other's.
        beside: What the other is.
        bar: For the ratio; None where there is none but to end well.
        is_ratio: The bar is for our figure.
    """

    what: str
    unit: str
    figures: Pair
    beside: str
    bar: float | None
    is_ratio: bool = False

    @property
    def ratio(self) -> float:
        """What the bar is for."""
        return self.figures.here if self.is_ratio else self.figures.here / self.figures.peer

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.bar is None or self.ratio <= self.bar

    def __str__(self) -> str:
        digits = 2 if self.is_ratio else 1 if self.figures.here < 100 else 0
        here, peer = (f"{figure:,.{digits}f} {self.unit}" for figure in self.figures)
        ratio = f"{self.ratio:.2f}" if self.ratio >= 0.1 else f"{self.ratio:.3f}"
        verdict = "yes" if self.holds else "**no**"
        bar, met = ("none", "-") if self.bar is None else (str(self.bar), verdict)
        return f"| {self.what} | {here} | {peer} | {self.beside} | {ratio} | {bar} | {met} |"
