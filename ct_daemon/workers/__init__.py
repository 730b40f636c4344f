"""The worker process, which touches data: `client` is the daemon's end of the channel, `serve` the worker's."""
