"""Where a request goes: columns over all nodes, named filters, best fit. Pure."""
