"""One module a revision; each says what it changes and never changes itself once released."""
