"""Benchmarks: one command each, `python -m benchmarks.bNN_name [--quick]`; see docs/benchmarks.md."""
