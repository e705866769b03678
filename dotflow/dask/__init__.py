"""Dask: a cluster as an executor. Only its users import this; needs `dotflow[dask]`."""

from dotflow.dask.executor import ExecutorDask

__all__ = ["ExecutorDask"]
