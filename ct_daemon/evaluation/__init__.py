"""How good a version is (`metrics`, numpy), whether it may go live (`gate`), how much worse it does since
(`degradation`; these two without numpy). Pure."""
