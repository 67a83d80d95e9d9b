"""Backends: what turns a local engine into nodes, and makes a grant real there."""
