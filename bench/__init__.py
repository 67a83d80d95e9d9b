"""Benchmarks of the pool: `python -m bench NAME` prints one JSON object per line.

They start the real daemons and load them from outside. Nothing in the product
imports this package. `docs/benchmarks.md` says what each figure means.
"""
