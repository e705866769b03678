"""The engine: what a workflow is and how it runs."""
