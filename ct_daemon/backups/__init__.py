"""Backups of a state folder: a folder with a copy of the ledger, every file that it refers to, and their digests.

A backup is whole or not there: it is made beside its place and renamed into it. The ledger is copied first, then the
files of which it speaks; published files never change, and while they are copied nothing is deleted (`hold.py`).
"""

from ct_daemon.backups.checking import verify_backup
from ct_daemon.backups.files import Backup
from ct_daemon.backups.hold import deleting, holding
from ct_daemon.backups.making import make_backup
from ct_daemon.backups.restoring import restore_backup

__all__ = ["Backup", "deleting", "holding", "make_backup", "restore_backup", "verify_backup"]
