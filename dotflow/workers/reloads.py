"""Whether a module was loaded again, so that kept workers have older code than this process.

Looked at once a run. A reload, as in a notebook, gives a module another `__spec__`; an import
after its removal from `sys.modules` gives another module.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where the standard library is, and this package.
_SETTLED: Final = (f"{Path(os.__file__).parent}/", f"{Path(__file__).parents[1]}/")

_lock: Final = fork_safe_lock()


class CodeVersion:
    """Counts how often modules of this process were loaded again.

    Those that were installed are left out: there may be thousands, and nobody works on them.

    Attributes:
        number: The count, when it was looked at last.
    """

    def __init__(self) -> None:
        self.number = 0
        self._loaded: Sequence[tuple[str, Any, Any]] = ()
        self._count = -1

    @property
    def modules(self) -> list[str]:
        """The names of those modules, in the order in which they were begun to be imported."""
        return [name for name, _, _ in self._loaded]

    def renew(self) -> int:
        """Look for modules that were loaded again; return the count."""
        with _lock:
            if any(_was_loaded_again(*each) for each in self._loaded):
                self.number += 1
                self._count = -1
            if len(sys.modules) != self._count:
                self._loaded = _own_modules()
                self._count = len(sys.modules)
            return self.number


def _was_loaded_again(name: str, module: Any, spec: Any) -> bool:
    found = sys.modules.get(name)
    return found is not module or _attributes(found).get("__spec__") is not spec


def _own_modules() -> Sequence[tuple[str, Any, Any]]:
    found = []
    for name, module in list(sys.modules.items()):
        attributes = _attributes(module)
        if name != "__main__" and _is_own(attributes.get("__file__")):
            found.append((name, module, attributes.get("__spec__")))
    return tuple(found)


def _attributes(module: Any) -> dict[str, Any]:
    # As they are: to ask a module that loads itself when it is asked would load it.
    try:
        attributes: dict[str, Any] = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return attributes


def _is_own(file: object) -> bool:
    if not isinstance(file, str):
        return False
    installed = "/site-packages/" in file or "/dist-packages/" in file
    return not installed and not file.startswith(_SETTLED)


# Of this process.
code_version: Final = CodeVersion()
