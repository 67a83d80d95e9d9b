"""The ledger: who has what, and the only rules by which that changes. Pure."""
