"""What outlives the daemon: the database, and the ledger of shared settings in it."""
