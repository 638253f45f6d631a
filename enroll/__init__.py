"""Issuance and renewal: people, applications, orders and mails behind one state machine."""
