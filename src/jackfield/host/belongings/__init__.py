"""What hangs on a link, addresses, routes and neighbours, and how it is hung on another."""
