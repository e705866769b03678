"""Spans of runs, tasks and attempts."""
