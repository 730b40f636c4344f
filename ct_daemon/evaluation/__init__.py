"""How good a version is (`metrics`, numpy) and whether it may go live (`gate`, no numpy). Pure."""
