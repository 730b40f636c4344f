"""Child processes that can't outlive their work: started clean, watched, and ended with all their descendants.

A child gets a session of its own, an environment from an allow-list and a marker in it (``CT_DAEMON_RUN``) that its
descendants inherit, so that one which left group and session is found again. What it prints goes into a capped log.
`children.py` starts and ends them, `watch.py` holds them to their limits, `kin.py` finds and kills who belongs
together, `first.py` is what a child runs first. All of it stands on the standard library alone.

**Trap**: Linux sends the death signal when the *thread* that started the child ends, not the process. Start a child
only from a thread that lives as long as the child shall: one that waits for it, or one as old as the daemon.

Limits of this room. A process that cleared its environment, left its session and lost its parent is not found; it
is noticed if it holds the output open, and a systemd unit or container (cgroup) ends it. Memory is resident memory,
looked at some ten times a second; pages shared by a family count once for each member. Outside Linux (5.3+) there is
no ``/proc``: a child is then ended by group only, does not die with a killed daemon, and its memory is not watched.
"""
