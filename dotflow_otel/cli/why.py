"""`dotflow why`: in a few lines what failed, where the time went, and what is unusual."""

from __future__ import annotations

from dotflow.cli.output import COMPLETED
from dotflow_otel.analysis import view_of
from dotflow_otel.analysis import why as reasons
from dotflow_otel.analysis.sentences import sections
from dotflow_otel.cli.shared import BOLD, Debug, HistoryPath, Reference, Screen, heading
from dotflow_otel.history.reader import History


def why(run: Reference, history: HistoryPath = None, _debug: Debug = False) -> int:
    """Tell why a run failed, was slow, or was lost: facts of the history, each with its figure.

    Out of the ordinary is what lies more than three spreads from the median of the last 20 runs
    of the same workflow; the spread is the median distance from the median, times 1.48.
    """
    with History(history) as found:
        named = found.run(run)
        view = view_of(named, found.spans(named, nested=True))
        told = reasons(found, view, found.logs(named) if named.skipped else ())
    screen = Screen()
    lines = heading(screen, view)
    for title, facts in sections(told):
        lines += ["", *(screen.style(line, BOLD) for line in screen.wrapped(title))]
        for fact in facts:
            indent = "  " * (fact.depth + 1)
            lines += screen.wrapped(fact.text, indent, f"{indent}  ")
    screen.write(lines)
    return COMPLETED
