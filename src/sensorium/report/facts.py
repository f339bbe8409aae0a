"""What a report tells, as plain data: gathered by the workflow, drawn by `page`.

Numbers and texts alone, so that a page can be made of anything that can be written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of one system.

    Attributes:
        low, high: the ends of its 95 % interval; None where it was not measured.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much more the model has than a baseline on the same rows, a row; more is better.

    Attributes:
        low, high: the ends of its 95 % interval.
        p: of the paired test.
    """

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What is compared: the model, a baseline, a presence pattern.

    Attributes:
        rows: how many it was judged on.
        seconds: of fitting; None where nothing was fitted.
        gain: the model's over this one; None where their rows were not paired.
    """

    name: str
    rows: int
    scores: Mapping[str, Score]
    seconds: float | None = None
    gain: Gain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a diagram: y over x, both finite."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One input of a row as the page shows it.

    Attributes:
        kind: "image", "audio", "video" (a strip of its pictures) or "text".
        source: a data: URI, or the text; None where the row lacks it or it does not fit.
        note: what is said in its place, or below.
    """

    name: str
    kind: str
    source: str | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One judged row: what was given, what was expected, and what the model said.

    Attributes:
        where: its place, such as 'test.csv:12'.
        score: of this row alone, by the first metric.
        is_bound: whether probabilities are at least what is told, rather than exactly.
    """

    where: str
    inputs: Sequence[Shown]
    expected: Sequence[str]
    answer: str
    probability: float
    score: float
    alternatives: Sequence[tuple[str, float]] = ()
    is_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """What was said for what was right.

    Attributes:
        answers: names of rows (right) and columns (said), most frequent first.
        counts: `counts[i][j]` judged rows whose answer is i and of which j was said.
        samples: some rows of a cell, by (i, j).
        num_folded: how many rarer answers are one line, the last; 0 = every answer has its own.
    """

    answers: Sequence[str]
    counts: Sequence[Sequence[int]]
    samples: Mapping[tuple[int, int], Sequence[Row]] = field(default_factory=dict)
    num_folded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One item that a query found: how it is shown, its similarity, and whether it is right."""

    shown: Sequence[Shown]
    score: float
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a retrieval, and what it found.

    Attributes:
        where: the place of a row that holds it.
        rank: of its first right answer, from 1.
        right: the right answer that came first; empty where it is among `found`.
        found: what came first.
    """

    where: str
    shown: Sequence[Shown]
    rank: int
    right: Sequence[Shown]
    found: Sequence[Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One input searching another.

    Attributes:
        query, found: names of the inputs.
        num_candidates: among which each query searches.
        metrics: by name, such as "recall_at_1" and "median_rank".
        rank_counts: how many queries have their first right answer at these ranks.
        best, worst: some queries.
    """

    query: str
    found: str
    num_queries: int
    num_candidates: int
    metrics: Mapping[str, float]
    rank_counts: Sequence[tuple[str, int]]
    best: Sequence[Query] = ()
    worst: Sequence[Query] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveScore:
    """What an objective of a pretraining run came to.

    Attributes:
        measure: such as "loss" or "accuracy".
        alone: the same where the row's other inputs are hidden; None where it was not measured.
    """

    objective: str
    measure: str
    value: float
    alone: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """All that a report tells of one run.

    Attributes:
        metric: the metric that decides; others stand beside it.
        lower_is_better: names of metrics of which less is better.
        baselines: beside the model, in the order in which they were measured.
        objectives: of a pretraining run, which has no baselines.
        searches: of a task that finds rows, a direction each.
        patterns: the model on rows that show some inputs only, on the same rows for all.
        contributions: what each modality gave, in units of `contribution_unit`.
        left_out: counts by what was left out, cut or absent.
        bad_rows: place, input and message of quarantined rows, the first of `num_bad`.
        about: facts of the run, such as its seed, rows and versions, in order.
        digests: SHA-256 of tables, by part.
    """

    name: str
    task: str
    run: str
    command: str
    judged_on: str
    metric: str
    lower_is_better: frozenset[str]
    model: System
    baselines: Sequence[System] = ()
    objectives: Sequence[ObjectiveScore] = ()
    searches: Sequence[Search] = ()
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    patterns: Sequence[System] = ()
    contributions: Sequence[tuple[str, float]] = ()
    contribution_unit: str = ""
    confusion: Confusion | None = None
    best: Sequence[Row] = ()
    worst: Sequence[Row] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    bad_rows: Sequence[tuple[str, str, str]] = ()
    num_bad: int = 0
    about: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    notes: Sequence[str] = ()
