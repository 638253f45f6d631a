"""Who the operators are, what each may, and what takes two of them."""
