"""`python -m ct_daemon` and the command `ct-daemon`."""

from __future__ import annotations

from ct_daemon.cli.main import main

if __name__ == "__main__":
    main()
