"""Models that are asked in a process of their own: how a version says so, and how it is asked there."""
