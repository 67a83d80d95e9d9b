"""`computepool up`: a whole pool on this machine, as children of one command."""
