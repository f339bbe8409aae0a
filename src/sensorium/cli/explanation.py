"""An explanation as a table: a line a token, two columns a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def print_explanation(facts: Mapping[str, Any]) -> None:
    """Print what `Explanation.facts` tells: log p in nats, and in brackets each scorer's share in per cent."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    tokens = facts["tokens"]
    if facts.get("cut"):
        print(f"explained is the beginning alone, which is read at once, of: {', '.join(facts['cut'])}")
    table = Table(title=f"log p in nats (share); mix: {facts['mix']}", title_justify="left")
    table.add_column("token")
    table.add_column("together", justify="right")
    for name in tokens[0]["scorers"] if tokens else ():
        table.add_column(name, justify="right")
    for token in tokens:
        cells = [_cell(part["log_p"], part["share"]) for part in token["scorers"].values()]
        # Text, not str: a token may look like rich's markup, and a blank or a line end must be seen.
        table.add_row(Text(_shown(token["token"])), _nats(token["log_p"]), *cells)
    console = Console(highlight=False)
    width = console.measure(table).maximum
    # Off a terminal rich assumes 80 columns and would cut cells.
    (console if console.is_terminal else Console(highlight=False, width=max(80, width))).print(table)


def _cell(log_p: float | None, share: float) -> str:
    return f"{_nats(log_p)} ({100 * share:3.0f} %)"


def _nats(log_p: float | None) -> str:
    return "-inf" if log_p is None else f"{log_p:.3f}"


def _shown(token: str) -> str:
    return token if token.strip() and token.isprintable() else repr(token)
