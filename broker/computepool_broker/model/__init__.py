"""What the pool is made of: amounts, nodes, allocations, requests. Pure."""
