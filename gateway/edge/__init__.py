"""The socket: TLS, one connection and its limits, the port, addresses, how much somebody may hold."""
