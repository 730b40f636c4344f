"""Where data comes in: a source lists what has arrived, waits until it is complete, and hands over a copy of our own.

`files.py` is the source that reads a folder; `watch.py` tells at once when a folder changed, so that nobody has to
wait for the next listing. The listing alone is enough to be right; the watcher only makes it fast.
"""
