"""From stored rows to the predictions of one version, kept by row id. Runs in the worker process."""
