"""The wire contract of computepool."""
