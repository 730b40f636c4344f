"""What a child runs to become another program: ``become FOLDER PROGRAM ARGUMENTS``.

The child is tied to its parent and marked by then (`first.py`), and the kernel keeps both over an exec.
"""

from __future__ import annotations

import os
import sys

NOT_STARTED_EXIT = 74
"""Exit code of a child whose program can't be started."""


def become(folder: str, program: str, *arguments: str) -> int:
    """Never comes back, unless the program can't be started."""
    try:
        os.chdir(folder)
        os.execvp(program, [program, *arguments])  # noqa: S606  (an argument list, no shell: that is the point)
    except OSError as error:
        sys.stderr.write(f"{program} can't be started in {folder}: {error.strerror}\n")
    return NOT_STARTED_EXIT


if __name__ == "__main__":
    sys.exit(become(*sys.argv[1:]))
