"""`computepool top`: the pool on a live screen. `command` is its only face."""
