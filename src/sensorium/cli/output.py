"""What commands print: lines and tables for people on stderr and stdout, one object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sensorium.core.errors import UsageError
from sensorium.core.plain import plain

if TYPE_CHECKING:
    from sensorium.data.omissions import Omissions


def say(line: str) -> None:
    """Tell the person something in passing, on stderr."""
    print(line, file=sys.stderr, flush=True)


def pair(text: str) -> tuple[str, str]:
    """Split an --input, NAME=VALUE.  Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("expected NAME=VALUE", where=f"--input {text}")
    return name, value


def pairs(texts: Sequence[str]) -> dict[str, str | list[str]]:
    """Return what several --input say, by name; a name given again has a list.  Raises UsageError."""
    row: dict[str, str | list[str]] = {}
    for name, value in map(pair, texts):
        before = row.get(name)
        row[name] = value if before is None else [*([before] if isinstance(before, str) else before), value]
    return row


def print_json(value: Any) -> None:
    """Print exactly one JSON object on stdout; what is infinite (an impossible perplexity) is null."""
    print(json_text(value), flush=True)


def json_text(value: Any) -> str:
    """Write a value as `print_json` prints it."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def print_left_out(left_out: Omissions) -> None:
    """Print what was left out of the rows, or cut; nothing where nothing was."""
    if left_out:
        print(f"left out, cut or absent: {left_out}")


def print_notes(notes: Sequence[str]) -> None:
    """Print what is to be known of judged rows."""
    for note in notes:
        print(f"warning: {note}")


def say_left_out(left_out: Omissions) -> None:
    """Say on stderr what was left out of the rows, or cut; nothing where nothing was."""
    if left_out:
        say(f"left out, cut or absent: {left_out}")


def fitted_for(seconds: float | None) -> str:
    """Write how long something was fitted for; empty where nothing was for it alone."""
    return "" if seconds is None else f"{seconds:.1f}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print an aligned plain-text table; the first column is text, the others are numbers."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def number(value: float | None) -> str:
    """Write a metric with four significant digits."""
    return "" if value is None else f"{value:.4g}"


def share(value: float | None) -> str:
    """Write a 0..1 metric in per cent."""
    return "" if value is None else f"{100 * value:.2f} %"
