"""The program behind `ct-daemon init --data`: the columns of one file, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ct_daemon.errors import CtDaemonError
from ct_daemon.scan.sample import look_at


def main(arguments: list[str] | None = None) -> int:
    """Look and print; the exit code is that of the error tree."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    try:
        found = look_at(Path(path))
    except CtDaemonError as error:
        return _refused(error.reason, str(error), error.exit_code)
    except OSError as error:
        return _refused("unreadable", f"{path} can't be read: {error.strerror}", 7)
    except MemoryError:
        return _refused("out_of_memory", f"{path} needs more memory than there is", 7)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _refused(reason: str, detail: str, code: int) -> int:
    sys.stdout.write(json.dumps({"error": {"reason": reason, "detail": detail}}) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
