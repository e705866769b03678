"""A run of the program: a page of its own, or a command."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from dotflow import __version__
from dotflow.cli.commands import known_commands, overview
from dotflow.cli.output import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    WRONG_USE,
    prepare_streams,
    print_error,
    send_nowhere,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIBRARIES: Final = ("typer", "rich", "click", "shellingham", "pydantic", "annotated_doc")
# The command's own variable, by which a shell asks for completions.
_COMPLETES: Final = "_DOTFLOW_COMPLETE"


def run(args: Sequence[str]) -> int:
    """Run a command line.

    Args:
        args: What follows the name of the program.

    Returns:
        The exit code.
    """
    prepare_streams()
    try:
        _import_from_here()
    except OSError as error:
        print_error(
            f"The working directory cannot be used: {error.strerror}. Go to one that is there."
        )
        return WRONG_USE
    try:
        code = _run(list(args))
        sys.stdout.flush()
    except KeyboardInterrupt:
        print_error("Aborted.")
        code = INTERRUPTED
    except OSError as error:  # a full disk, say
        print_error(f"The output could not be written: {error}")
        # What is left of it would fail again at exit.
        send_nowhere(1)
        code = FAILED
    return code


def _run(args: list[str]) -> int:
    # These pages need none of typer, which takes longer to load than all the rest.
    if args in (["-v"], ["--version"]):
        print(f"dotflow=={__version__}")
        return COMPLETED
    commands = known_commands()
    if args in ([], ["-h"], ["--help"]) and _COMPLETES not in os.environ:
        print(overview(commands))
        return COMPLETED
    try:
        from dotflow.cli.group import run_command  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        print_error(f"{library} is not installed: pip install 'dotflow[cli]'")
        return WRONG_USE
    return run_command(commands, args)


def _import_from_here() -> None:
    # As for `python -m`: the modules of the working directory are found, by workers as well.
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
