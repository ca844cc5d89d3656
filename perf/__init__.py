"""Benchmarks: one module a figure, each measured beside a limit in the same run."""
