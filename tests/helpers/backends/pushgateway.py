"""A Pushgateway: keeps what short jobs push, for Prometheus to scrape."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from backends.server import LISTEN, Server
from needed import tool

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE: Final = "apt-get install prometheus-pushgateway"


class Pushgateway(Server):
    """A Pushgateway that runs while it is entered, and forgets all at its end.

    Args:
        folder: Where its log goes.
    """

    def __init__(self, folder: Path) -> None:
        # Debian's name, and that of the project's own archives.
        found = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
        program = tool("Pushgateway", found, PACKAGE)
        # Debian's keeps what was pushed in one file of the machine unless told otherwise.
        super().__init__([program, LISTEN, "--persistence.file="], folder)

    def groups(self) -> list[dict[str, Any]]:
        """Return what was pushed, by job and grouping key."""
        found: list[dict[str, Any]] = self.get_json("/api/v1/metrics")["data"]
        return found
