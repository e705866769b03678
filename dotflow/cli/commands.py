"""Which commands there are, and the page that lists them.

They are in a table, so that none is loaded before it is run.

Other distributions add theirs by the entry-point group `dotflow.commands`. Each entry point names
a table like the one here: a dictionary from the name of a command to a `Command`.
"""

from __future__ import annotations

from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow import __description__
from dotflow.cli.output import print_note

if TYPE_CHECKING:
    from collections.abc import Mapping

_GROUP: Final = "dotflow.commands"


class Command(NamedTuple):
    """A command.

    Attributes:
        target: The function that typer makes the command of, as `package.module:function`.
        summary: What it does, in a few words.
    """

    target: str
    summary: str


CORE: Final = {
    "start": Command("dotflow.cli.start:start", "Run steps, or a workflow, once."),
    "schedule": Command("dotflow.cli.schedule:schedule", "Run them at the times of a cron line."),
    "init": Command("dotflow.cli.init:init", "Make a small project that runs."),
}


# What the group of commands takes beside them, for its page.
_OPTIONS: Final = {
    "-v, --version": "Print the version.",
    "--debug": "Show the traceback of an error of dotflow's own.",
    "--install-completion": "Install completion for your shell.",
    "--show-completion": "Print it, to be installed by hand.",
    "-h, --help": "Print this page; after a command, that command's.",
}


def known_commands() -> dict[str, Command]:
    """Return all commands by name; those of the core stand over others of the same name."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - takes as long as the rest

    others: dict[str, Command] = {}
    for entry in entry_points(group=_GROUP):
        try:
            table: Mapping[str, Command] = entry.load()
            others.update({name: Command(*command) for name, command in table.items()})
        except Exception as error:  # noqa: BLE001 - other commands must go on working
            reason = f"{type(error).__name__}: {error}"
            print_note(
                f"the commands of {entry.value} are left out, for they do not load: {reason}"
            )
    return {**CORE, **{name: command for name, command in others.items() if name not in CORE}}


def overview(commands: Mapping[str, Command]) -> str:
    """Return the page of the program: what it is, its commands, its options."""
    return page(
        f"{__description__}.",
        "dotflow [OPTIONS] COMMAND ...",
        {
            "Commands": {name: command.summary for name, command in commands.items()},
            "Options": _OPTIONS,
        },
    )


def page(text: str, usage: str, sections: Mapping[str, Mapping[str, str]]) -> str:
    """Return a page of help that is as wide as the terminal, within reason.

    Args:
        text: What the program or command does, in paragraphs.
        usage: What is written to run it.
        sections: By title what there is to be chosen, each with what it does.
    """
    width = max(24, min(get_terminal_size().columns, 100))
    paragraphs = [_filled(each, width) for each in text.split("\n\n")]
    usage = _filled(usage, width, "Usage: ", " " * 7)
    return "\n\n".join(
        [
            *paragraphs,
            usage,
            *(_section(title, rows, width) for title, rows in sections.items() if rows),
        ]
    )


def _section(title: str, rows: Mapping[str, str], width: int) -> str:
    indent = " " * (max(map(len, rows)) + 4)
    lines = [f"{title}:"]
    for name, text in rows.items():
        if len(indent) > width // 2:  # a narrow window: the text goes below
            lines += [f"  {name}", _filled(text, width, " " * 6, " " * 6)]
        else:
            lines.append(_filled(text, width, f"  {name}".ljust(len(indent)), indent))
    return "\n".join(lines)


def _filled(text: str, width: int, first: str = "", others: str = "") -> str:
    plain = " ".join(text.split())
    if not plain:
        return first.rstrip()
    return fill(
        plain, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )
