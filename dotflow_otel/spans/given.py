"""Spans whose ids are given, not drawn."""

from __future__ import annotations

from opentelemetry.sdk.trace import Span


class GivenSpan(Span):
    """A span of the SDK for ids that were chosen elsewhere.

    A tracer draws the id of each span that it starts. The run chooses the id of an attempt
    in a worker beforehand, so that what the step calls finds its parent even if the worker
    dies; and what a worker recorded keeps its ids on the way to the application's
    processors. The SDK lets subclasses alone be made without a tracer.
    """
