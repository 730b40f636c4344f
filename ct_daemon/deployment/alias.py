"""Make a version live by switching one symbolic link: readers see the old version or the new one, never a mixture."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from ct_daemon.errors import ArtifactError, DeployError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import make_folder, sync
from ct_daemon.manifests import MANIFEST, read_within
from ct_daemon.protocols import VersionFiles

CHAMPION = "champion"
CURRENT = "current.json"

_NOT_A_VERSION = (ArtifactError, OSError, ValueError, RecursionError)
"""What reading a folder that is no version may raise."""


class AliasTarget:
    """Keeps ``FOLDER/MODEL/champion``, a link to the live version (implements `protocols.DeployTarget`).

    ``current.json`` beside it is a link *through* ``champion`` to the manifest, so the two can't disagree. One
    process at a time may deploy; any number may read. How to read: see the package's docstring.

    Parameters
    ----------
    folder_of : callable
        The alias folder for a model's name.
    """

    def __init__(self, folder_of: Callable[[str], Path]) -> None:
        self._folder_of = folder_of

    def current(self, model: str) -> VersionFiles | None:
        """What is live, read back from the link and the manifest that it leads to; None before the first.

        Raises
        ------
        DeployError
            `alias_broken` if the link leads nowhere or to something that is not a version; `alias_in_the_way` if
            `champion` is not a link.
        """
        champion = self._folder_of(model) / model / CHAMPION
        try:
            where = _end_of(champion)
            return _version_in(where)
        except _NOT_A_VERSION as error:
            if not os.path.lexists(champion):
                return None
            if champion.exists() and not champion.is_symlink():
                raise _in_the_way(champion) from error
            raise DeployError(
                f"{champion} does not lead to a version: {error}; deploy or roll back to a version",
                reason="alias_broken",
            ) from error

    def deploy(self, model: str, version: VersionFiles) -> None:
        """Switch to a version: durable when this returns, harmless when done twice.

        A crash on the way leaves the old link or the new one.

        Raises
        ------
        DeployError
            `version_altered` if the folder does not hold that version (nothing was switched); `alias_in_the_way` if
            something else has the name of a link; `alias_not_switched` if the file system refuses.
        """
        target = Path(version.path)
        _check(target, version)
        folder = self._folder_of(model) / model
        champion = folder / CHAMPION
        try:
            make_folder(folder, mode=0o777)  # less the umask: others read it
            # First the link that leads through the champion: until there is one, a reader misses both.
            through = Path(CHAMPION, MANIFEST)
            if not (folder / CURRENT).is_symlink() or (folder / CURRENT).readlink() != through:
                _linked_beside(folder / CURRENT, through).replace(folder / CURRENT)
            new = _linked_beside(champion, _way(folder, target))
            failpoint("alias.linked")
            new.replace(champion)
            failpoint("alias.switched")
            sync(folder)
        except OSError as error:
            raise _not_switched(champion, error) from error

    def withdraw(self, model: str) -> None:
        """Take the links away: nothing is live. Durable when this returns, harmless when done twice.

        Raises
        ------
        DeployError
            `alias_in_the_way` if something else has the name of a link; `alias_not_switched` if the file system
            refuses.
        """
        folder = self._folder_of(model) / model
        champion = folder / CHAMPION
        if champion.exists() and not champion.is_symlink():
            raise _in_the_way(champion)
        try:
            for link in (champion, folder / CURRENT):
                link.unlink(missing_ok=True)
            if folder.is_dir():
                sync(folder)
        except OSError as error:
            raise _not_switched(champion, error) from error


def _check(folder: Path, version: VersionFiles) -> None:
    """Refuse to make live what is not the version that was published."""
    try:
        found = _version_in(folder)
        fault = f"its manifest is that of version {found.version} with digest {found.digest[:16]}"
        if (found.version, found.digest) == (version.version, version.digest):
            return
    except _NOT_A_VERSION as error:
        fault = str(error)
    raise DeployError(
        f"{folder} is not version {version.version} as it was published: {fault}; "
        "put it back from a backup or choose another version",
        reason="version_altered",
    )


def _end_of(champion: Path) -> Path:
    """Where the link leads, spelled as `deploy` got it (a realpath would differ if the state folder is a link)."""
    real = os.path.realpath(champion)
    spelled = os.path.normpath(champion.parent / champion.readlink())
    return Path(spelled if os.path.realpath(spelled) == real else real)


def _version_in(folder: Path) -> VersionFiles:
    """The version that lies in a folder, by its manifest."""
    manifest = read_within(folder, MANIFEST)
    document = json.loads(manifest)
    if not isinstance(document, dict) or not isinstance(document.get("version"), int):
        raise ValueError(f"{MANIFEST} names no version number")
    return VersionFiles(
        version=document["version"], path=str(folder), digest=hashlib.sha256(manifest).hexdigest()
    )


def _way(folder: Path, target: Path) -> Path:
    """The text of the link: relative within one tree, so that the tree can be moved or mounted elsewhere as a whole;
    else absolute."""
    relative = Path(os.path.relpath(target, folder))
    same_tree = os.path.commonpath([target, folder]) != os.sep
    same_disk = folder.stat().st_dev == target.stat().st_dev
    leads_there = os.path.realpath(folder / relative) == os.path.realpath(target)
    return relative if same_tree and same_disk and leads_there else target


def _linked_beside(link: Path, text: Path) -> Path:
    """A new link under a temporary name beside `link`, durable, ready to be renamed over it."""
    if link.exists() and not link.is_symlink():
        raise _in_the_way(link)
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)  # of a deployment that a crash cut short
    new.symlink_to(text)
    sync(link.parent)
    return new


def _not_switched(champion: Path, error: OSError) -> DeployError:
    return DeployError(
        f"{champion} can't be switched: {error.strerror}; let this user write there, or free some space",
        reason="alias_not_switched",
    )


def _in_the_way(link: Path) -> DeployError:
    return DeployError(
        f"{link} is not a link of ours; move it away, then deploy again", reason="alias_in_the_way"
    )
