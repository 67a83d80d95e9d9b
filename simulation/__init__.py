"""What a sharded pool of the size of a country would do: a simulation, and what it rests on.

`python -m simulation -h` lists what it can do; docs/design-notes/sharding.md says what came out.
It is a tool for a decision, not a part of the pool: nothing here is installed.

- costs.py: every number that it rests on, each with its source.
- pool.py, choice.py: nodes with free devices, and which of them a request goes to.
- shard.py, seat.py, run.py: Redis, brokers, and the events between them.
- figures.py, grid.py: what is counted, and the tables.
- lockstep.py: the same choices by the broker's own code and by the simplified ones.
- gang.py: every interleaving of a grant over two shards, crashes included.
- measure*.py: measures the costs anew on this machine.
"""
