"""How many random inputs tests try, and those that several of them share."""

from __future__ import annotations

import os
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The same ones in each run, a few seconds of them; so many times as many where somebody looks for
# more, and other ones each time.
TIMES: Final = int(os.environ.get("RANDOM_TIMES", "1"))


def bounded(examples: int, **options: Any) -> settings:
    """Return the settings of a test of random inputs.

    Args:
        examples: How many it tries at most, where it is not run for longer.
        **options: Further settings of hypothesis.
    """
    return settings(
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        max_examples=examples * TIMES,
        # A busy machine may take its time over an example.
        suppress_health_check=[HealthCheck.too_slow],
        **options,
    )


# Texts that a path, a log line, a terminal or an encoding could stumble over.
ODD_TEXTS: Final = (
    *("", " ", "\n", "\0", "\x1b[31m", "\u2028", "\ud800", "\U0001f600", "é", "%s", "{}", "$type"),
    *("../x", "/", "~", "-", "--", "=", "'", '"', "\\", "x" * 5_000),
)

LEAVES: Final[st.SearchStrategy[Any]] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(ODD_TEXTS)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    return st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.tuples(inner)


# Whatever storages of documents keep.
VALUES: Final[st.SearchStrategy[Any]] = st.recursive(LEAVES, _nested, max_leaves=8)
