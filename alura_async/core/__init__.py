"""The engine: everything between a group's method and the socket. Private; import from `alura_async`."""
