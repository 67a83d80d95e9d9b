"""The broker: one resource view, one ledger, leases on real devices."""

from importlib.metadata import version

__version__ = version("computepool")
