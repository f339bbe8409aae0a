"""Run by test_commit: commit a folder again and again, each time killed one file operation later.

    python crash_points.py WORKPLACE [recommit]

Each attempt is a forked child in WORKPLACE/<n>; its n-th file operation is its last.  Ends when a
child gets through; prints how many did not.
"""

import os
import sys
from pathlib import Path

from sensorium.core.commit import Kind, committed_folder, recommit

OPERATIONS = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "ctypes.dlsym",
}


def commit(final: Path, text: str) -> None:
    with committed_folder(final, Kind("thing", mark="a.txt")) as draft:
        (draft / "sub").mkdir()
        (draft / "a.txt").write_text(text)
        (draft / "sub" / "b.txt").write_text(text * 1000)


def attempt(final: Path, operations: int, is_again: bool) -> None:
    """Commit, and die at the given file operation."""
    left = operations

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal left
        if event in OPERATIONS:
            left -= 1
            if left < 0:
                os._exit(9)

    commit(final, "old")
    sys.addaudithook(count)
    if is_again:
        recommit(final, Kind("thing", mark="a.txt"), {"a.txt": b"new"})
    else:
        commit(final, "new")


def main(workplace: Path, is_again: bool) -> None:
    for operations in range(1000):
        child = os.fork()
        if child == 0:
            attempt(workplace / str(operations) / "model", operations, is_again)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            print(operations)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["recommit"])
