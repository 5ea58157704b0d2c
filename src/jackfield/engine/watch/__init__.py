"""What somebody else does to networks and ports, noticed and told of: one file for each thing."""
