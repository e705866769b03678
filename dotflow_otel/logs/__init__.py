"""Events of runs as log lines."""
