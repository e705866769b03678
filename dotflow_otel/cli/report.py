"""`dotflow report`: write a page of a run, as one file; `dotflow ui`: serve pages of all runs."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from dotflow.cli.output import INTERRUPTED, print_note
from dotflow.cli.start import terminable
from dotflow.core.exception import ModuleNotFound
from dotflow.signals import TERMINATED, Terminated
from dotflow_otel.cli.shared import Debug, HistoryPath, Reference, WrongUse
from dotflow_otel.history.reader import History
from dotflow_otel.pages.report import addresses, run_document
from dotflow_otel.pages.report import report as page_of

Jaeger = Annotated[
    str | None,
    typer.Option(
        "--jaeger",
        metavar="URL",
        help="Where Jaeger's page is, for a link to the trace; else as DOTFLOW_JAEGER_URL says.",
    ),
]
Grafana = Annotated[
    str | None,
    typer.Option(
        "--grafana",
        metavar="URL",
        help="Where Grafana is, for a link to its board; else as DOTFLOW_GRAFANA_URL says.",
    ),
]


def report(
    run: Reference = "latest",
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file; - is stdout. Else dotflow-ID.html."
        ),
    ] = None,
    jaeger: Jaeger = None,
    grafana: Grafana = None,
    history: HistoryPath = None,
    _debug: Debug = False,
) -> None:
    """Write a page of a run, as one file that needs no network.

    It shows the run's spans as a waterfall, its workers, tasks, errors and log lines, and why it
    failed or where its time went. A file that is there is written over once the page is whole.
    """
    links = addresses(jaeger, grafana)
    if output == "":
        raise WrongUse("--output is empty: give the path of a file, or - for stdout.")
    with History(history) as found:
        info = found.run(run)
        page = page_of(run_document(found, info, links))
    if output == "-":
        # Not as text: the page is UTF-8 wherever it is written.
        sys.stdout.buffer.write(page.encode())
        return
    path = Path(f"dotflow-{info.id}.html" if output is None else output)
    _write(path, page)
    print_note(f"{info.workflow}: the page of run {info.id} is {path}")


def _write(path: Path, page: str) -> None:
    """Write a file as a whole, or leave what is there as it is."""
    if path.exists() and not path.is_file():
        # A pipe, or /dev/null: there is nothing to be kept whole.
        if path.is_dir():
            raise WrongUse(f"{str(path)!r} is a folder: give the path of a file.")
        path.write_bytes(page.encode())
        return
    target = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(".html", ".dotflow-", target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(page.encode())
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException as error:
        with suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> WrongUse:
    reason = error.strerror or str(error)
    return WrongUse(f"The page cannot be written to {str(path)!r}: {reason}. Give another -o.")


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
