"""Where the boards' files lie, and what must stand in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from boards import fleet, overview, workflow
from boards.drawing import drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).resolve().parents[1]


def texts() -> dict[Path, str]:
    """Return what must stand in each file."""
    boards = [each.board().build() for each in (overview, workflow, fleet)]
    found = {FOLDER / "dashboards" / f"{board['uid']}.json": _text(board) for board in boards}
    return found | {FOLDER / "pictures" / f"{board['uid']}.svg": drawn(board) for board in boards}


def write() -> Iterator[Path]:
    """Write the files that are not as they must be, and tell which."""
    for file, text in texts().items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            yield file


def _text(board: dict[str, object]) -> str:
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"
