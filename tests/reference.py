"""Writes the API reference of what programs import, from its docstrings.

    make docs

Whatever pdoc warns of is an error.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pdoc

if TYPE_CHECKING:
    from types import ModuleType

# Each module that programs import names from; a module of one that has `__all__` is named here.
MODULES: Final = (
    "dotflow",
    "dotflow.abc",
    "dotflow.core.context",
    "dotflow.core.exception",
    "dotflow.core.fingerprint",
    "dotflow.core.task",
    "dotflow.core.types",
    "dotflow.core.workflow",
    "dotflow.dask",
    "dotflow.providers",
    "dotflow.settings",
    "dotflow.testing",
    "dotflow_otel",
    "dotflow_otel.conventions",
    "dotflow_otel.testing",
)
PACKAGES: Final = ("dotflow", "dotflow_otel")


def main() -> None:
    """Write the pages into the folder that the command line names."""
    (folder,) = sys.argv[1:]
    warnings.simplefilter("error")
    _load()
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        _place_named_tuples(sys.modules[name])
    # With the source of each name the pages would be four times as large.
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=Path(folder))


def _load() -> None:
    """Import every module that is shown, and those that their names come from."""
    for name in pdoc.extract.walk_specs(MODULES):
        module = import_module(name)
        for public in getattr(module, "__all__", ()):
            getattr(module, public)


def _place_named_tuples(module: ModuleType) -> None:
    """Say where the fields' types of a module's named tuples are looked up.

    The constructor that `NamedTuple` makes claims to be of a module that does not exist.
    """
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, tuple) and "__new__" in vars(value):
            value.__new__.__module__ = value.__module__


if __name__ == "__main__":
    main()
