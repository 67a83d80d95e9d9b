"""Time: the service clock and deadlines on it. Pure."""
