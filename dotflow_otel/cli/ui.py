"""`dotflow ui`: serve pages of all runs on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from dotflow.cli.output import INTERRUPTED, TERMINATED, Terminated, print_note
from dotflow.cli.start import terminable
from dotflow.core.exception import ModuleNotFound
from dotflow_otel.cli.report import Grafana, Jaeger
from dotflow_otel.cli.shared import Debug, HistoryPath
from dotflow_otel.history.reader import History
from dotflow_otel.pages.report import addresses

_PORT = 8329
_LIBRARIES = ("starlette", "uvicorn", "anyio", "h11")


def ui(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="PORT", min=0, max=65535, help="The port; 0: any that is free."
        ),
    ] = _PORT,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="A name by which this machine may be asked for, beside its addresses; repeatable.",
        ),
    ] = None,
    jaeger: Jaeger = None,
    grafana: Grafana = None,
    history: HistoryPath = None,
    _debug: Debug = False,
) -> int:
    """Serve pages of all runs, until Ctrl-C or SIGTERM.

    They only show: nothing can be changed by them. Unless --host says otherwise, only programs of
    this machine reach them.

    Exit codes: 130 interrupted, 143 terminated, 2 wrong use.
    """
    links = addresses(jaeger, grafana)
    try:
        from dotflow_otel.pages.server import PageServer  # noqa: PLC0415 - the extra `ui`
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise ModuleNotFound(library, "dotflow[ui]") from error
    with History(history) as found:
        path = found.path
    try:
        with terminable():
            server = PageServer(path, host, port, links, name or ())
            if not server.is_local:
                print_note(f"whoever reaches {host} can read the runs of {path}")
            print_note(f"the runs of {path} are at {server.url} ; Ctrl-C ends it")
            server.run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    return INTERRUPTED
