"""Options that are a number of things."""

from __future__ import annotations

from dotflow.core.exception import InvalidOption


def check_count(option: str, value: object) -> None:
    """Refuse what is neither a whole number of at least 1 nor None, which stands for a default.

    Args:
        option: The option's name, for the error.
        value: What was given.

    Raises:
        InvalidOption: It is neither.
    """
    if value is not None and (not isinstance(value, int) or value < 1):
        raise InvalidOption(option, value, "give a whole number, 1 or more")
