"""nftables: rules as values become messages of nfnetlink, are looked at, and are watched."""
