"""A machine whose first process is the real systemd, on this machine's own root, with the daemon as documented."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.acceptance.rig import REPOSITORY
from tests.shipping.machine import CGROUPS, hierarchies, need_root, need_tools, remove_cgroups

PROGRAMS = {
    "/lib/systemd/systemd": "systemd",
    "systemctl": "systemd",
    "journalctl": "systemd",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "mount": "mount",
}
POWEROFF = signal.SIGRTMIN + 4
_NAMESPACES = ("unshare", "--cgroup", "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--kill-child")
_BOOT = Path(__file__).with_name("boot.sh")

_START = "#!/bin/sh\nset -eu\nroot=$1\n"
PREPARE = """\
#!/bin/sh
# The new root gets what docs/how-to/systemd.md tells to do, but packages are shown, not installed.
set -eu
root=$1
site=$root/opt/ct-daemon/lib/{python}/site-packages
mkdir -p "$root/opt/ct-daemon/bin" "$site"
{interpreter}
ln -s {home}/bin/{python} "$root/opt/ct-daemon/bin/{python}"
ln -s {python} "$root/opt/ct-daemon/bin/python3"
printf 'home = %s\\ninclude-system-site-packages = false\\n' {home}/bin >"$root/opt/ct-daemon/pyvenv.cfg"
mount -t overlay -o lowerdir={project}:{packages} overlay "$site"
cat >"$root/opt/ct-daemon/bin/ct-daemon" <<'END'
#!/opt/ct-daemon/bin/python3 -P
from ct_daemon.__main__ import main
main()
END
chmod 755 "$root/opt/ct-daemon/bin/ct-daemon"
install -m 644 {deploy}/ct-daemon.service "$root/etc/systemd/system/"
install -D -m 644 {deploy}/sysusers.d/ct-daemon.conf "$root/etc/sysusers.d/ct-daemon.conf"
systemd-sysusers --root="$root" ct-daemon.conf
mkdir -p "$root/etc/ct-daemon" "$root/srv/inbox"
{more}
"""

_OTHER_HOME = """\
mkdir -p "$root/opt/python"
mount --bind {prefix} "$root/opt/python"
echo /opt/python/lib >"$root/etc/ld.so.conf.d/ct-daemon.conf"
/sbin/ldconfig -r "$root"
"""


class Machine:
    """One booted machine.

    Parameters
    ----------
    folder : Path
        New; holds what must outlive the boot script's own memory.
    more : str
        Lines of shell that also prepare the new root, ``$root``.
    installed : bool
        With the daemon, its unit and its user.
    """

    def __init__(self, folder: Path, *, more: str = "", installed: bool = True) -> None:
        self._name = f"ct-test-{os.getpid()}-{folder.name}"
        self._log = folder / "boot.log"
        base = folder / "base"
        base.mkdir(parents=True)
        prepare = folder / "prepare.sh"
        prepare.write_text(_preparation(folder, more) if installed else f"{_START}{more}\n")
        prepare.chmod(0o700)
        cgroups = folder / "cgroups"
        cgroups.write_text("".join(_cgroup_mounts()))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_NAMESPACES, str(_BOOT), str(base), str(prepare), str(cgroups)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._enter_cgroups,
                start_new_session=True,
            )
        self.pid = 0

    def boot(self) -> None:
        """Wait until systemd takes commands."""
        self.pid = self.wait(self._first_process, "the first process")
        self.wait(self._is_up, "systemd answers")

    def run(
        self, *command: str, check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """One command inside; one that fails shows what it said."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", *("-m", "-u", "-i", "-n", "-p", "-C"), "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin",
                "LANG": "C.UTF-8",
                "SYSTEMD_PAGER": "",
            },
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.journal()}"
            )
        return done

    def shell(self, script: str, *, check: bool = True) -> str:
        """A few lines of shell inside; what they print."""
        return self.run("sh", "-euc", script, check=check).stdout

    def write(self, path: str, text: str) -> None:
        """A file inside."""
        self.run("sh", "-euc", 'printf %s "$2" >"$1"', "sh", path, text)

    def show(self, name: str, unit: str = "ct-daemon") -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def journal(self, unit: str = "ct-daemon", lines: int = 40) -> str:
        """The last lines that the service and systemd wrote about it."""
        return self.run("journalctl", "--no-pager", "-u", unit, "-n", str(lines), check=False).stdout

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
        """Until `condition` is true."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if found := condition():
                return found
            time.sleep(0.02)
        told = self.journal() if self.pid else ""
        raise AssertionError(
            f"after {timeout:.0f} s still not: {what}\n{self._log.read_text(errors='replace')[-3000:]}\n{told}"
        )

    def close(self) -> None:
        """Power off, and leave nothing."""
        if self.pid and self._process.poll() is None:
            os.kill(self.pid, POWEROFF)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(20)
        remove_cgroups(self._name)

    def _enter_cgroups(self) -> None:
        for root in hierarchies():
            own = root / self._name
            own.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (root / name).exists() and (own / name).exists():
                    (own / name).write_text((root / name).read_text())
            (own / "cgroup.procs").write_text(str(os.getpid()))

    def _first_process(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in map(int, children):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return pid
        return 0

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")


M = TypeVar("M", bound=Machine)


def _cgroup_mounts() -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and Path(place).is_relative_to(CGROUPS):
            controllers = [
                o for o in options.split(",") if o not in ("rw", "ro") and not o.endswith(("time", "suid"))
            ]
            wanted = [o for o in controllers if o not in ("nodev", "noexec", "xattr")]
            named = any(o.startswith("name=") for o in wanted)
            yield f"{place} cgroup {','.join((['none'] if named else []) + wanted)}\n"
        elif kind == "cgroup2" and Path(place).is_relative_to(CGROUPS):
            yield f"{place} cgroup2 rw\n"


def _preparation(folder: Path, more: str) -> str:
    """The script that puts the daemon into the new root."""
    project = folder / "project"
    shutil.copytree(
        REPOSITORY / "ct_daemon", project / "ct_daemon", ignore=shutil.ignore_patterns("__pycache__")
    )
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(project)], check=True, timeout=120)
    prefix = Path(sys.base_prefix)
    home = Path("/usr") if prefix == Path("/usr") else Path("/opt/python")
    deploy = REPOSITORY / "deploy"
    return PREPARE.format(
        python=f"python{sys.version_info.major}.{sys.version_info.minor}",
        interpreter="" if home == Path("/usr") else _OTHER_HOME.format(prefix=prefix),
        home=home,
        project=project,
        packages=distribution("click").locate_file("."),
        deploy=deploy,
        more=more,
    )


def _need_namespaces() -> None:
    """Skip where root may not make a machine within this one, as in most containers."""
    tried = subprocess.run(
        [*_NAMESPACES, "sh", "-c", "mount -t tmpfs tmpfs /mnt && mount -t proc proc /proc"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if tried.returncode != 0:
        pytest.skip(f"this machine allows no machine of its own within it: {tried.stderr.strip()}")


@contextmanager
def machine(kind: type[M], folder: Path, **options: Any) -> Iterator[M]:
    """A booted machine; skips, with the reason, where none can be made."""
    need_root("booting systemd")
    need_tools("booting systemd", PROGRAMS)
    _need_namespaces()
    folder.mkdir(parents=True)
    made = kind(folder, **options)
    try:
        made.boot()
        yield made
    finally:
        made.close()
