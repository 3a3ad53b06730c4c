"""How good masks are: measures, statistics, the sealed test set's ledger, pictures."""
