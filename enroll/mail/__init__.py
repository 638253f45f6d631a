"""How letters leave: whose a refusal is, when a letter may go, the queue, and the ways out."""
