"""What the broker does for each call, between the wire and the pure core."""
