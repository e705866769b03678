"""Runs programs that send what they observe to a receiver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wire.otlp import Received, Receiver

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ROOT / "tests" / "wire" / "programs"


class Done(NamedTuple):
    """A program that has ended: what it printed, and what it has sent."""

    printed: str
    errors: str
    sent: Received


class Wire(NamedTuple):
    """A receiver, and the protocol that programs send to it by."""

    receiver: Receiver
    protocol: str

    def run(
        self, program: str, *arguments: object, by: tuple[str, ...] = (), **variables: str
    ) -> Done:
        """Run a program to its end, as its user would, or by another one."""
        ours = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.endpoint(self.protocol),
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [*by, sys.executable, PROGRAMS / program, *map(str, arguments)],
            env={**os.environ, **ours, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return Done(done.stdout, done.stderr, self.receiver.take())
