"""The OpenTelemetry SDK, set up from the standard variables and ended in time."""
