"""Data sets for training: which stored batches (`manifest`), their labelled rows (`snapshots`), frames (`frames`)."""
