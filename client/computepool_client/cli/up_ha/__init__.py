"""`computepool up-ha`: several brokers over a replicated store, a load, and things to break."""
