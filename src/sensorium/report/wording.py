"""Numbers and verdicts in words.

Enters: `RunFacts`.  Leaves: sentences.  A verdict never claims more than the interval holds.
"""

from __future__ import annotations

import re

from sensorium.report.facts import RunFacts, Score, System

NAMES = {
    "accuracy": "Accuracy",
    "exact_match": "Exact match",
    "macro_f1": "Macro F1",
    "span_f1": "Span F1",
    "span_precision": "Span precision",
    "span_recall": "Span recall",
    "token_accuracy": "Token accuracy",
    "wer": "Word error rate",
    "cer": "Character error rate",
    "perplexity": "Perplexity",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "meteor_exact": "METEOR (exact)",
    "meteor_exact_stem": "METEOR (exact, stems)",
    "meteor_exact_stem_wordnet": "METEOR (exact, stems, WordNet)",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "cider_d": "CIDEr-D",
    "distinct1": "Distinct-1",
    "distinct2": "Distinct-2",
    **{f"bleu{n}": f"BLEU-{n}" for n in range(1, 5)},
}
_SHARES = frozenset(
    {
        "accuracy",
        "exact_match",
        "macro_f1",
        "macro_precision",
        "macro_recall",
        "span_f1",
        "span_precision",
        "span_recall",
        "token_accuracy",
        "wer",
        "cer",
    }
)
_AT_K = re.compile(r"(^|_)(recall|precision|f1)_at_\d+$")
SURE = 0.05
FEWEST_ROWS = 6
"""Fewer judged rows tell nothing apart: five that all point one way do so by chance once in sixteen times."""
_ENDS = {
    "better": "The model is better than every baseline",
    "worse": "A simpler system does better: look at it first",
    "open": "These rows do not tell the two apart",
}
_SPACE = "\u00a0"  # a number and its unit stay on one line


def metric_name(name: str) -> str:
    """Return how a metric is called in a heading."""
    base, _, split = name.partition("@")
    called = NAMES.get(base, base.replace("_", " ").capitalize())
    return f"{called} ({split})" if split else called


def is_share(name: str) -> bool:
    """Say whether a metric is a share of 1, written in per cent."""
    name = name.partition("@")[0]
    return name in _SHARES or _AT_K.search(name) is not None


def number(name: str, value: float) -> str:
    """Write a metric's value: shares in per cent, others with three digits or so."""
    if is_share(name):
        return f"{100 * value:.1f}{_SPACE}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def interval(name: str, score: Score) -> str:
    """Write a score's 95 % interval; empty where it was not measured."""
    if score.low is None or score.high is None:
        return ""
    if is_share(name):
        return f"{100 * score.low:.1f}–{100 * score.high:.1f}{_SPACE}%"
    return f"{number(name, score.low)}–{number(name, score.high)}"


def verdict(facts: RunFacts) -> str:
    """Say in one or two sentences how the model stands beside the best baseline.

    It is called better (or worse) only where the paired test of their rows says so; where there is none, only where
    the baseline lies outside the model's interval.
    """
    if facts.objectives:
        return _pretrained(facts)
    name, score = facts.metric, facts.model.scores[facts.metric]
    said = f"{metric_name(name)} {number(name, score.value)}"
    if around := interval(name, score):
        said += f" (95{_SPACE}% interval {around})"
    said += f" on {facts.model.rows:,} {facts.judged_on} rows"
    best = best_baseline(facts)
    if best is None:
        return f"{said}; there is no baseline to hold it against."
    value = best.scores[name].value
    beside = f"the best baseline, {best.name}{_trained_for(best, facts)}, reaches {number(name, value)}"
    if best.gain is not None:
        end = _ENDS[standing(facts)]
        if standing(facts) == "better" and not all(_is_beaten(system) for system in facts.baselines):
            end = "The model is better than it"
        return f"{said}; {beside}. {end} (paired test, p = {best.gain.p:.2g})."
    if facts.model.rows < FEWEST_ROWS:
        return f"{said}; {beside}. {_ENDS['open']}."
    if score.low is None or score.high is None:
        return f"{said}; {beside}."
    if score.low <= value <= score.high:
        return f"{said}; {beside}, inside that interval. {_ENDS['open']}."
    return f"{said}; {beside}. {_ENDS[standing(facts)]}."


def _is_beaten(system: System) -> bool:
    return system.gain is not None and system.gain.p < SURE and system.gain.mean > 0


def _pretrained(facts: RunFacts) -> str:
    """Say what a pretraining run was trained by, and what the other inputs of a row gave."""
    names = ", ".join(dict.fromkeys(one.objective for one in facts.objectives))
    gave = [
        f"{one.objective} {number(one.measure, one.value)} (alone {number(one.measure, one.alone)})"
        for one in facts.objectives
        if one.measure == "loss" and one.alone is not None
    ]
    said = f"Pretrained by {names}; judged on {facts.model.rows:,} {facts.judged_on} rows"
    return f"{said}. Loss with the row's other inputs: {', '.join(gave)}." if gave else f"{said}."


def _trained_for(system: System, facts: RunFacts) -> str:
    """Say it where a baseline had much less time than the model."""
    if (
        not system.seconds
        or not facts.model.seconds
        or system.seconds < 1
        or system.seconds > facts.model.seconds / 2
    ):
        return ""
    return f" (fitted for {duration(system.seconds)}, the model for {duration(facts.model.seconds)})"


def standing(facts: RunFacts) -> str:
    """Return "better", "worse" or "open": the verdict as one word, by the best baseline."""
    best = best_baseline(facts)
    if best is None:
        return "open"
    score, value = facts.model.scores[facts.metric], best.scores[facts.metric].value
    if best.gain is not None:
        return "open" if best.gain.p >= SURE else "better" if best.gain.mean > 0 else "worse"
    if score.low is None or score.high is None or score.low <= value <= score.high:
        return "open"
    if facts.model.rows < FEWEST_ROWS:
        return "open"
    return "better" if (value > score.high) == (facts.metric in facts.lower_is_better) else "worse"


def best_baseline(facts: RunFacts) -> System | None:
    """Return the baseline that is best by the metric that decides; None if none was judged by it."""
    judged = [system for system in facts.baselines if facts.metric in system.scores]
    if not judged:
        return None
    choose = min if facts.metric in facts.lower_is_better else max
    return choose(judged, key=lambda system: system.scores[facts.metric].value)


def duration(seconds: float) -> str:
    """Write a time: '0.4 s', '75 s', '4 min', '2 h 05 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
