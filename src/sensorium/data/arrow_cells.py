"""Arrow columns -> text cells, by the rule of `sensorium.data.cell_values`: as pandas writes the same frame to CSV.

Enters: the columns of a record batch, of Parquet or Arrow.
Leaves: texts.  Floats have the shortest digits that tell them apart in their own precision; moments have the digits
that the finest moment of their column needs, and are days where all are midnights; categories are what they stand
for.  What a column of moments needs is known once all of it was seen: `Moments.of` reads those columns beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sensorium.data.cell_values import cell_of

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_S = 86_400
_FLOATS = {"halffloat": np.float16, "float": np.float32}


class Moments:
    """How finely the moments and durations of each column are written.

    Args:
        digits: of a second, by column; -1 = days are enough.
    """

    def __init__(self, digits: dict[str, int] | None = None) -> None:
        self.digits = dict(digits or {})

    @classmethod
    def of(cls, schema: Any, batches: Callable[[Sequence[str]], Iterable[Any]]) -> Moments:
        """Look through all moments of a file.

        Args:
            schema: its Arrow schema.
            batches: gives its record batches, of the named columns at least.
        """
        names = [field.name for field in schema if _is_moment(field.type)]
        moments = cls(dict.fromkeys(names, -1))
        for batch in batches(names) if names else ():
            for name in names:
                moments.digits[name] = max(moments.digits[name], _digits(batch.column(name)))
        return moments

    def cells(self, name: str, column: Any) -> list[str]:
        """Turn a column into text cells."""
        from pyarrow import types

        kind = column.type
        if types.is_dictionary(kind):
            return self.cells(name, column.dictionary_decode())
        if _is_moment(kind):
            written = _durations if types.is_duration(kind) else _times
            return list(written(column, self.digits.get(name, _digits(column))))
        if str(kind) in _FLOATS:
            exact = _FLOATS[str(kind)]
            return ["" if v is None or v != v else str(exact(v)) for v in column.to_pylist()]
        shorten = _shortened(kind)
        return [value if isinstance(value, str) else cell_of(shorten(value)) for value in column.to_pylist()]


def holds_bytes(kind: Any) -> bool:
    """Say whether an Arrow type holds bytes that are not text."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return holds_bytes(kind.value_type)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    children = [kind.field(i) for i in range(kind.num_fields)]
    return str(kind) == "binary_view" or any(holds_bytes(child.type) for child in children)


def _is_moment(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_timestamp(kind) or types.is_duration(kind))


def _ticks(column: Any) -> Any:
    """Return the whole numbers that moments are kept as, null as 0."""
    import pyarrow

    return column.cast(pyarrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)


def _digits(column: Any) -> int:
    """Count the digits of a second that the finest moment needs; -1: all are whole days, of no zone."""
    from pyarrow import types

    tick_N, per_second = _ticks(column), _PER_SECOND[column.type.unit]
    is_time = types.is_timestamp(column.type)
    has_zone = is_time and column.type.tz is not None
    if not has_zone and not (tick_N % (per_second * _DAY_S)).any():
        return -1
    steps = (0, 3, 6, 9) if is_time else (0, 6, 9)  # durations have no thousandths alone
    return next(n for n in steps if 10**n >= per_second or not (tick_N % (per_second // 10**n)).any())


def _parts(column: Any, digits: int) -> Iterator[tuple[int, str] | None]:
    """Part moments into whole seconds and the text of the rest."""
    per_second, valid_N = _PER_SECOND[column.type.unit], column.is_valid().to_pylist()
    for tick, is_valid in zip(_ticks(column).tolist(), valid_N, strict=True):
        second, rest = divmod(tick, per_second)
        fraction = f".{rest * 10**digits // per_second:0{digits}d}" if digits > 0 else ""
        yield (second, fraction) if is_valid else None


def _times(column: Any, digits: int) -> Iterator[str]:
    """Write moments such as '2024-01-31 13:00:05.500+01:00', or days."""
    import pyarrow

    parts = list(_parts(column, digits))
    whole = pyarrow.array([None if part is None else part[0] for part in parts], pyarrow.int64())
    seconds = whole.cast(pyarrow.timestamp("s", column.type.tz)).to_pylist()
    for part, moment in zip(parts, seconds, strict=True):
        if part is None:
            yield ""
        elif digits < 0:
            yield moment.date().isoformat()
        else:
            zone = moment.isoformat()[19:]
            yield moment.replace(tzinfo=None).isoformat(sep=" ") + part[1] + zone


def _durations(column: Any, digits: int) -> Iterator[str]:
    """Write durations such as '1 days 02:00:00', or days."""
    for part in _parts(column, digits):
        days, rest = divmod(part[0], _DAY_S) if part is not None else (0, 0)
        clock = f"{'+' if days < 0 else ''}{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
        yield "" if part is None else f"{days} days" + ("" if digits < 0 else f" {clock}{part[1]}")


def _shortened(kind: Any) -> Callable[[Any], Any]:
    """Return what gives floats within lists and objects the digits of their own precision."""
    from pyarrow import types

    if str(kind) in _FLOATS:
        exact = _FLOATS[str(kind)]
        return lambda value: None if value is None else float(str(exact(value)))
    if types.is_struct(kind):
        parts = {field.name: _shortened(field.type) for field in kind}
        return lambda value: None if value is None else {name: parts[name](part) for name, part in value.items()}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _shortened(kind.value_type)
        return lambda value: None if value is None else [inner(part) for part in value]
    return lambda value: value
