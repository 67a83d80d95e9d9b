"""The broker's figures for Prometheus: what there is, how it is read, where it is served."""
