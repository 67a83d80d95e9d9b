"""Filters, orders and page tokens of lists: the grammar, its types, its predicates. Pure."""
