"""The command `ct-daemon`: words and pictures only, no rules of its own."""
