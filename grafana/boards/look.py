"""How panels look: units, colours, thresholds, and what every panel must tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, ThresholdsConfig

# Grafana's names of units.
COUNT: Final = "short"
SECONDS: Final = "s"
SHARE: Final = "percentunit"
TEXT: Final = "string"

BLUE: Final = "blue"
GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"
GREY: Final = "#8e8e8e"

# Colours by value: each holds from its number on, the first from below.
Steps = tuple[tuple[float | None, str], ...]
PLAIN: Final[Steps] = ((None, BLUE),)
BAD_FROM_ONE: Final[Steps] = ((None, GREEN), (1, RED))
ODD_FROM_ONE: Final[Steps] = ((None, GREEN), (1, ORANGE))
SUCCESS: Final[Steps] = ((None, RED), (0.95, ORANGE), (0.99, GREEN))
SATURATION: Final[Steps] = ((None, GREEN), (0.8, ORANGE), (0.95, RED))
# What multi-window alerts act on: slow burn asks for a ticket, fast burn for a person.
BURN: Final[Steps] = ((None, GREEN), (1, ORANGE), (6, RED))
FAST_BURN: Final[Steps] = ((None, GREEN), (6, ORANGE), (14.4, RED))
BUDGET: Final[Steps] = ((None, GREEN), (0.5, ORANGE), (1, RED))

# Width and height of a panel.
Size = tuple[int, int]
NUMBER: Final[Size] = (4, 4)
THIRD: Final[Size] = (8, 8)
HALF: Final[Size] = (12, 8)
TWO_THIRDS: Final[Size] = (16, 8)
WIDE: Final[Size] = (24, 8)


class About(NamedTuple):
    """What a panel tells of itself.

    Attributes:
        title: What is shown.
        description: What it means, and what to do when it looks wrong.
        unit: One of Grafana's units.
        size: Columns, of 24, and rows, of 30 pixels.
        steps: Colours by value.
    """

    title: str
    description: str
    unit: str
    size: Size
    steps: Steps = PLAIN


class _Panel(Protocol):
    # What the builders of all kinds of panels have, though no base class says so.
    def title(self, title: str, /) -> Self: ...
    def description(self, description: str, /) -> Self: ...
    def unit(self, unit: str, /) -> Self: ...
    def span(self, w: int, /) -> Self: ...
    def height(self, h: int, /) -> Self: ...
    def datasource(self, datasource: DataSourceRef, /) -> Self: ...
    def thresholds(self, thresholds: Builder[ThresholdsConfig], /) -> Self: ...


PanelT = TypeVar("PanelT", bound=_Panel)


def dressed(panel: PanelT, about: About, source: DataSourceRef) -> PanelT:
    """Return a panel what every panel has."""
    return (
        panel.title(about.title)
        .description(about.description)
        .unit(about.unit)
        .span(about.size[0])
        .height(about.size[1])
        .datasource(source)
        .thresholds(thresholds(about.steps))
    )


def thresholds(steps: Steps) -> build.ThresholdsConfig:
    """Return thresholds of steps."""
    models = [Threshold(value=value, color=color) for value, color in steps]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(models)


def setting(name: str, value: Any) -> DynamicConfigValue:
    """Return what an override sets."""
    return DynamicConfigValue(name, value)


def color(value: str) -> DynamicConfigValue:
    """Return an override's colour."""
    return setting("color", {"mode": FieldColorModeId.FIXED, "fixedColor": value})


def by_thresholds() -> build.FieldColor:
    """Colour values by thresholds."""
    return build.FieldColor().mode(FieldColorModeId.THRESHOLDS)
