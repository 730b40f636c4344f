"""Making versions: the runner starts trainer processes from the daemon; all else here runs inside such a process."""
