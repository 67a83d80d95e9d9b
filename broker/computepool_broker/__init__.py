"""The broker: one resource view, one ledger, leases on real devices."""
