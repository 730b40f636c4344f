"""Pure numbers: cells, profiles, distances between them, evidence over time. Arrays and counts in, values out."""
