"""What goes wrong between a client and a server, and what the user is told of it."""
