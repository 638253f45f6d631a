"""Who may have a certificate: organisations, users, what they apply for, how they log in."""
