"""Files and functions stay short enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import sensorium

MOST_OF_A_FILE, MOST_OF_A_FUNCTION = 500, 50
SOURCE = Path(sensorium.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def too_long(name: str, text: str) -> Iterator[str]:
    """Name a file that is too long, and its functions that are."""
    num_lines = len(text.splitlines())
    if num_lines > MOST_OF_A_FILE:
        yield f"{name}: {num_lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            num_lines = node.end_lineno - node.lineno + 1
            if num_lines > MOST_OF_A_FUNCTION:
                yield f"{name}:{node.lineno} {node.name}: {num_lines} lines"


def test_no_file_and_no_function_is_too_long() -> None:
    assert len(FILES) > 500
    texts = {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in FILES}
    assert [line for name, text in texts.items() for line in too_long(name, text)] == []


def test_what_is_too_long_is_named() -> None:
    body = "    x = 1\n" * 50
    assert list(too_long("a.py", f"def short():\n{body[10:]}")) == []
    assert list(too_long("a.py", f"class A:\n  async def long(self):\n{body}")) == ["a.py:2 long: 51 lines"]
    assert list(too_long("a.py", "x = 1\n" * 501)) == ["a.py: 501 lines"]
