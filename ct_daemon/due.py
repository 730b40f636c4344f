"""Which models wait for a look."""

from __future__ import annotations

import threading


class Due:
    """The models that wait for a tick: each at most once, first come first served."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._models: dict[str, bool] = {}
        self._ticking = False
        self._closed = False

    def add(self, model: str, *, only_if_new: bool = False) -> None:
        """Wish for a tick; a full one outweighs one that only looks for new files."""
        with self._changed:
            self._models[model] = self._models.get(model, True) and only_if_new
            self._changed.notify()

    def take(self) -> tuple[str, bool] | None:
        """The next model and whether only new files matter; None when closed."""
        with self._changed:
            self._ticking = False
            self._changed.wait_for(lambda: self._models or self._closed)
            if self._closed:
                return None
            self._ticking = True
            model = next(iter(self._models))
            return model, self._models.pop(model)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being looked at."""
        with self._changed:
            return not self._models and not self._ticking

    def close(self) -> None:
        """No more ticks."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
