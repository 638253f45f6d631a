"""The life of a request ID, from its opening to the certificate and its end: one state machine."""
