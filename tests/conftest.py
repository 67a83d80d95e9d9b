"""Shared by all tests; its place here puts tests/ on the path, so that `fakes` can be imported."""
