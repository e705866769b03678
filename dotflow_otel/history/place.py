"""Where the history is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dotflow.core.arguments import check_file
from dotflow.core.exception import InvalidOption

VARIABLE: Final = "DOTFLOW_HISTORY"

FOLDER: Final = ".dotflow"
_NAME: Final = "history.db"

_OFF: Final = frozenset({"", "0", "false", "no", "off"})
_ON: Final = frozenset({"1", "true", "yes", "on"})


def default_path() -> Path:
    """Return where the history is unless set otherwise: below the working directory."""
    return Path.cwd() / FOLDER / _NAME


def history_path(history: bool | str | os.PathLike[str] | None = None) -> Path | None:
    """Return where the history is; None where there is to be none.

    Args:
        history: A path; True: where `DOTFLOW_HISTORY` says, or the usual place; False: none;
            None: as `DOTFLOW_HISTORY` says, which is a path, or `1` for the usual place.

    Raises:
        InvalidOption: It is none of these, or a path where no file can be.
    """
    if history is False:
        return None
    if history is None or history is True:
        named = os.environ.get(VARIABLE, "").strip()
        if named.lower() in _OFF:
            return default_path() if history else None
        return default_path() if named.lower() in _ON else Path(named).absolute()
    if not isinstance(history, (str, os.PathLike)):
        hint = "give True for the usual place, a path, or False for none"
        raise InvalidOption("history", history, hint)
    check_file("history", history)
    return Path(history).absolute()
