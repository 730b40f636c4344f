"""Seeded data, and fakes that behave like the real thing without its processes, for your tests too."""

from ct_daemon.testing.data import drop, rows
from ct_daemon.testing.fakes import FakeTrainer, FakeWorker, MemoryTarget

__all__ = ["FakeTrainer", "FakeWorker", "MemoryTarget", "drop", "rows"]
