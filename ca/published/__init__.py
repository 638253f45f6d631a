"""What the world is told of certificates, as it is kept: lists and answers."""
