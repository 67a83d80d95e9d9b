"""`computepool doctor`: what is wrong with a set-up. `command` is its only face."""
