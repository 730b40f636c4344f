"""The left half of the flow: one tick takes what arrived, measures it, and decides."""
