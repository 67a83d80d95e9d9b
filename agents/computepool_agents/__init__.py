"""The agent: reports what a server or a center has, and is the arbiter of its nodes."""
