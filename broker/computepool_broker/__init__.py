"""The broker: one resource view, one ledger, leases on real devices."""

__version__ = "0.1.0"
