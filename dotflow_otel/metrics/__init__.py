"""Counts and durations, for Prometheus and for OpenTelemetry."""
