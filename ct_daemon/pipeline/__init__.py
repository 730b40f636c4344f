"""The right half of the flow: a durable run, from a decision to a verified deployment."""
