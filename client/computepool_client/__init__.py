"""The client: SDK and command."""
