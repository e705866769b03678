"""The session of HTTP that OTLP goes through, which reads what the collector answers.

The SDK's exporters take each status below 400 for delivered, whatever the answer says, and follow
redirects, with the headers that hold tokens, to whom they name. The specification of OTLP has a
collector tell in its answer how much it has rejected:
https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

import json
import logging
from importlib import import_module
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError
from requests import RequestException, Response, Session

from dotflow_otel import _process as process
from dotflow_otel.plain import bounded
from dotflow_otel.sdk.exports import note_rejected

_logger: Final = logging.getLogger("dotflow_otel")

_DELIVERED: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)


class _Answer(NamedTuple):
    """Where the answer to a signal is defined, and its field for the items that were rejected."""

    module: str
    message: str
    field: str


_SERVICES: Final = "opentelemetry.proto.collector"
_ANSWERS: Final = {
    process.TRACES: _Answer(
        f"{_SERVICES}.trace.v1.trace_service_pb2",
        "ExportTraceServiceResponse",
        "rejected_spans",
    ),
    process.LOGS: _Answer(
        f"{_SERVICES}.logs.v1.logs_service_pb2",
        "ExportLogsServiceResponse",
        "rejected_log_records",
    ),
    process.METRICS: _Answer(
        f"{_SERVICES}.metrics.v1.metrics_service_pb2",
        "ExportMetricsServiceResponse",
        "rejected_data_points",
    ),
}


class AnswerRefused(RequestException):
    """An answer that is none of OTLP: nobody can tell whether anything was delivered."""


class OtlpSession(Session):
    """A session that follows no redirect, and notes what a collector rejects.

    What it notes goes to the account of the export that it is in; see
    `dotflow_otel.sdk.exports.exporting`. It raises `AnswerRefused`, which the exporters take for
    a failure, where the answer is a redirect or no answer of OTLP.

    Args:
        signal: What is sent: `traces`, `logs` or `metrics`.
    """

    def __init__(self, signal: str) -> None:
        super().__init__()
        self._answer = _ANSWERS[signal]
        self._told = ""
        self.hooks["response"].append(self._read)

    def _read(self, response: Response, **_: Any) -> None:
        status = response.status_code
        if status in _REDIRECTS:
            response.close()
            raise AnswerRefused(f"the collector answers {status}: no redirect is followed")
        if status in _DELIVERED and response.content:
            rejected, message = self._rejected(response)
            note_rejected(rejected)
            if message and message != self._told:
                self._told = message
                _logger.warning(
                    "the collector has rejected %d items: %r", rejected, bounded(message)
                )

    def _rejected(self, response: Response) -> tuple[int, str]:
        kind, field = response.headers.get("Content-Type", "no type"), self._answer.field
        answer = getattr(import_module(self._answer.module), self._answer.message)()
        try:
            if "json" in kind:
                name = answer.partial_success.DESCRIPTOR.fields_by_name[field].json_name
                told = json.loads(response.content).get("partialSuccess") or {}
                return int(told.get(name, 0)), str(told.get("errorMessage", ""))
            answer.ParseFromString(response.content)
        except (DecodeError, ValueError, AttributeError, TypeError) as error:
            raise AnswerRefused(
                f"the collector answers {response.status_code} with what is not of OTLP ({kind})"
            ) from error
        partial = answer.partial_success
        return getattr(partial, field), partial.error_message
