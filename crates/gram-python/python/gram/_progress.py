"""How far long work is: a bar where somebody looks, and functions of the caller's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

OnMeasured = Callable[[int, float], object]


def _somebody_looks() -> bool:
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


class Observer:
    """Hears the native module, draws a bar by tqdm, and calls `on_measured` with a step and what it measured.

    Parameters
    ----------
    progress
        Whether a bar is drawn; `None` draws one in a terminal or a notebook, if tqdm is installed.
    measured
        What is listened to: the name of a measurement.
    on_measured
        Is called with the step, from 1, and the value. What it raises ends the work.
    """

    def __init__(
        self, progress: bool | None = None, measured: str = "", on_measured: OnMeasured | None = None
    ) -> None:
        self._bar: Any = None
        self._make: Any = None
        self._measured = measured
        self._on_measured = on_measured
        if progress or (progress is None and _somebody_looks()):
            try:
                from tqdm.auto import tqdm
            except ImportError:
                if progress:
                    raise
            else:
                self._make = tqdm

    def __call__(self, event: str, /, *details: str | int | float) -> object:
        if event == "measured":
            name, step, value = details
            if self._on_measured is not None and name == self._measured:
                self._on_measured(int(step), float(value))
        elif self._make is not None:
            self._draw(event, *details)
        return None

    def _draw(self, event: str, *details: str | int | float) -> None:
        if event == "begin":
            self.close()
            stage, steps = details
            # What takes less than a second needs no bar.
            self._bar = self._make(total=steps or None, desc=stage, delay=1, leave=False)
        elif self._bar is not None:
            message = details[-1]
            self._bar.update(1 if event == "advance" else int(details[0]) - self._bar.n)
            if message:
                self._bar.set_postfix_str(str(message), refresh=False)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
