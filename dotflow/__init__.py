"""Runs Python steps as workflows that explain themselves.

What a program imports from here is loaded when it is first asked for, so that the command
`dotflow --help` need not load what runs workflows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dotflow.core.action import action
    from dotflow.core.config import Config
    from dotflow.core.context import Context
    from dotflow.core.dotflow import DotFlow
    from dotflow.core.task import Task

__version__: Final = "2.0.0.dev0"
__description__: Final = "Python steps as workflows whose every run explains itself"

__all__ = ["Config", "Context", "DotFlow", "Task", "action"]

# Programs for dotflow 1.x find these below `dotflow` after `import dotflow` alone.
_PACKAGES: Final = ("abc", "core", "providers", "settings")

if not TYPE_CHECKING:  # to type checkers it would be any name

    def __getattr__(name: str) -> Any:
        if name not in (*__all__, *_PACKAGES):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        _load()
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_PACKAGES})


def _load() -> None:
    from dotflow.core.action import action  # noqa: PLC0415 - see above, as the others
    from dotflow.core.config import Config  # noqa: PLC0415
    from dotflow.core.context import Context  # noqa: PLC0415
    from dotflow.core.dotflow import DotFlow  # noqa: PLC0415
    from dotflow.core.task import Task  # noqa: PLC0415

    # The next look-up finds them without coming here.
    globals().update(Config=Config, Context=Context, DotFlow=DotFlow, Task=Task, action=action)
