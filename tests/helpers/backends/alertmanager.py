"""An Alertmanager: takes alerts, and tells a receiver of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final, Self

from backends.server import LISTEN, Server
from needed import tool

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE: Final = "apt-get install prometheus-alertmanager"


def _program() -> str:
    # Debian's name, and that of the project's own archives.
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    return tool("Alertmanager", found, PACKAGE)


class Alertmanager(Server):
    """An Alertmanager that runs while it is entered.

    Args:
        folder: Where its files go.
        config: Its configuration, as `alertmanager.yml` has it.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._file = folder / "alertmanager.json"
        self._config = config
        super().__init__(
            [
                _program(),
                f"--config.file={self._file}",
                f"--storage.path={folder / 'data'}",
                LISTEN,
                "--cluster.listen-address=",
            ],
            folder,
        )

    def __enter__(self) -> Self:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._config), encoding="utf-8")
        return super().__enter__()

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it knows."""
        found: list[dict[str, Any]] = self.get_json("/api/v2/alerts")
        return found
