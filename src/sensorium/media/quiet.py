"""Keep a codec's Python warnings from leaking into the caller's output, from any number of threads.

`warnings.catch_warnings` saves and restores global state, so two threads that overlap can restore
in the wrong order and leave warnings off for good.  Here the first to enter saves, the last to leave
restores.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_num_inside = 0
_saved: contextlib.ExitStack | None = None


@contextlib.contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignore warnings raised inside Pillow's own modules; all others pass."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _num_inside, _saved
    with _lock:
        if _num_inside == 0:
            _saved = contextlib.ExitStack()
            _saved.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _num_inside += 1


def _leave() -> None:
    global _num_inside, _saved
    with _lock:
        _num_inside -= 1
        if _num_inside == 0 and _saved is not None:
            _saved.close()
            _saved = None
