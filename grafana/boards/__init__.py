"""The Grafana boards of dotflow, as code: `python -m boards` writes their JSON and drawings."""
