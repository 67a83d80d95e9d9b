"""The command `computepool`: one module per group of commands.

Nothing here may import the broker or the agents; gRPC, the generated code and
rich are imported inside the commands, so that `--help` stays fast.
"""
