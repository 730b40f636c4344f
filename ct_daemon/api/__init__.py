"""The control API: every route is one call on `Control` or one view of the ledger."""
