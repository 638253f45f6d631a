"""Whether the register's rows agree with each other and with the state machines: `store.RULES`."""
