"""The group of all commands, each loaded when it is run."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as command_of

from dotflow import __version__
from dotflow.cli.commands import overview, page
from dotflow.cli.output import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    WRONG_USE,
    is_of_output,
    print_error,
    print_note,
)
from dotflow.core.exception import DotflowError
from dotflow.core.module import place_of
from dotflow.core.user_objects import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow.cli.commands import Command

# Typer's own base classes have no public names of typer's, and belong to click in older ones.
_UsageError: Final[Any] = typer.BadParameter.__mro__[1]
_ClickError: Final[Any] = typer.BadParameter.__mro__[2]

_HELP: Final = {"help_option_names": ["-h", "--help"]}


def run_command(commands: Mapping[str, Command], args: Sequence[str]) -> int:
    """Run a command; print an error, in one line where it is none of dotflow's own faults.

    Args:
        commands: All commands.
        args: The name of the command, and what follows it.

    Returns:
        The exit code.
    """
    try:
        code = _group(commands).main(list(args), prog_name="dotflow", standalone_mode=False)
    except _ClickError as error:
        return _wrong_use(error)
    except typer.Abort:
        print_note("Aborted.")
        return INTERRUPTED
    except DotflowError as error:
        return _refused(error, WRONG_USE, args)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if is_of_output(error):
            raise  # the caller says so
        return _refused(error, FAILED, args)
    return code if isinstance(code, int) else COMPLETED


def _group(commands: Mapping[str, Command]) -> Any:
    class Commands(TyperGroup):
        """Finds the commands in the table."""

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            command = commands.get(cmd_name)
            return None if command is None else _loaded(cmd_name, command)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args and args[0] not in commands and not args[0].startswith("-"):
                ctx.fail(_unknown(args[0], commands))
            return super().resolve_command(ctx, args)

        def invoke(self, ctx: Any) -> Any:
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                # Newer typers make a code of it without a word, older ones abort.
                print_error("Aborted.")
                return INTERRUPTED

        def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
            formatter.write(overview(commands) + "\n")

    app = typer.Typer(
        cls=Commands, context_settings=_HELP, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback(invoke_without_command=True)(_dotflow)
    return command_of(app)


def _dotflow(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", "-v", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),  # noqa: ARG001
) -> None:
    if version:
        print(f"dotflow=={__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


class _Command(TyperCommand):
    """Writes its page as the program's own."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        records: dict[str, dict[str, str]] = {"Arguments": {}, "Options": {}}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                records[f"{parameter.param_type_name}s".capitalize()].update([record])
        usage = " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)])
        formatter.write(page(self.help or "", usage, records) + "\n")


def _loaded(name: str, command: Command) -> Any:
    module, _, function = command.target.partition(":")
    app = typer.Typer(
        add_completion=False,
        context_settings=_HELP,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.command(name, cls=_Command)(getattr(import_module(module), function))
    return command_of(app)


def _unknown(name: str, commands: Mapping[str, Command]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for this message alone

    close = get_close_matches(name, commands, 1)
    meant = f": is {close[0]!r} meant?" if close else "."
    return f"There is no command {name!r}{meant} Use one of: {', '.join(commands)}."


def _wrong_use(error: Any) -> int:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "dotflow"
    text = " ".join(error.format_message().split()).rstrip(".")
    see = f" See '{where} --help'." if isinstance(error, _UsageError) else ""
    print_error(f"{text}.{see}")
    return WRONG_USE


def _refused(error: BaseException, code: int, args: Sequence[str]) -> int:
    text = text_of(error)
    if not isinstance(error, DotflowError):
        text = f"{type(error).__name__}: {text}"
    if "--debug" in args:
        traceback.print_exception(error, file=sys.stderr)
    elif code == FAILED:
        place = place_of(error)
        text = f"{text} ({place})." if place else f"{text}."
        text = f"{text} Add --debug for the traceback."
    print_error(text)
    return code
