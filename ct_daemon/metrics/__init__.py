"""What Prometheus sees: facts counted as they happen, and the ledger's state at the moment of a scrape."""
