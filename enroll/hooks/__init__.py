"""Webhooks: other systems are told of what happened, by signed requests to endpoints that operators named."""
