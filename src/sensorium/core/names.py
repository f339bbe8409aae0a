"""Names that people type: which known one was meant, and the refusal of one that is not known.

Enters: a name and those that there are.  Leaves: the likeliest known one, or the advice of an error.
Whatever is called by name (keys, columns, inputs, metrics, tasks, words) asks here, so that all are as forgiving.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from sensorium.core.errors import SensoriumError, UsageError

_CUTOFF = 0.6
_MOST_LISTED = 30
_UNSEEN = ("Cf", "Cc", "Co")


def near(name: str, known: Iterable[str], cutoff: float = _CUTOFF) -> str | None:
    """Return the known name that was likeliest meant, letters' case and joining signs aside; None: none is near."""
    by_folded: dict[str, str] = {}
    for one in known:
        by_folded.setdefault(_folded(one), one)
    wanted = _folded(name)
    if wanted in by_folded:
        return by_folded[wanted]
    close = difflib.get_close_matches(wanted, list(by_folded), n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def nearest(name: str, known: Iterable[str], *, listed: str = "known:", cutoff: float = _CUTOFF) -> str:
    """Return advice that names the likeliest intended one, or lists all after the words `listed`."""
    known = list(known)
    close = near(name, known, cutoff)
    if close is not None:
        alike = close != name and shown_form(close) == shown_form(name)
        told = f" they look alike: {close!a} is not {name!a}" if alike else ""
        return f"did you mean '{close}'?{told}"
    shown = known[:_MOST_LISTED]
    more = f", and {len(known) - len(shown):,} more" if len(known) > len(shown) else ""
    return f"{listed} {', '.join(shown) or 'none'}{more}"


def nearest_place(path: Path) -> str:
    """Return advice that names what is meant beside a file or folder that is not there, or what there is."""
    folder = next((one for one in path.parents if one.is_dir()), Path())
    name = path.relative_to(folder).parts[0] if path.is_relative_to(folder) else path.name
    try:
        beside = sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))
    except OSError:
        beside = []
    close = near(name, beside)
    return f"did you mean '{folder / close}'?" if close else f"nothing in '{folder}' is called like it"


def require_known(
    names: Iterable[str],
    known: Sequence[str],
    kind: str,
    *,
    where: str = "",
    error: type[SensoriumError] = UsageError,
) -> None:
    """Refuse the first of `names` that is not known.

    Args:
        kind: what the names are of, as in "no input 'foto'".

    Raises:
        `error`: with the near one, or all that there are.
    """
    for name in names:
        if name not in known:
            raise error(f"no {kind} '{name}'", where=where, advice=nearest(name, known))


def shown_form(text: str) -> str:
    """Return what of a text can be seen: composed, compatible letters, one plain blank, no signs without width."""
    composed = unicodedata.normalize("NFKC", text)
    return " ".join("".join(sign for sign in composed if unicodedata.category(sign) not in _UNSEEN).split())


def _folded(name: str) -> str:
    return shown_form(name).casefold().replace("-", "_").replace(" ", "_")
