"""What a worker of pebble imports: it does not import the main module."""

from __future__ import annotations

import pickle


def call(pickled: bytes) -> object:
    """Make a call that cloudpickle has pickled."""
    return pickle.loads(pickled)()
