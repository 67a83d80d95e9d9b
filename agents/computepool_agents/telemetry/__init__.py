"""The agent's figures for Prometheus: what there is, how it is counted, where it is served."""
