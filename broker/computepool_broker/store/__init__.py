"""Where the ledger lasts. One contract, two stores."""
