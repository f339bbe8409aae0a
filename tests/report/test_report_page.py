"""The page: every text escaped, every section from its facts, charts and numbers right."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sensorium.report.charts import line_chart, thinned, ticks
from sensorium.report.confusions import OTHERS, confuse
from sensorium.report.facts import (
    Confusion,
    Curve,
    Found,
    Gain,
    ObjectiveScore,
    Query,
    Row,
    RunFacts,
    Score,
    Search,
    Shown,
    System,
)
from sensorium.report.markup import Markup, escape, tag
from sensorium.report.page import write_page
from sensorium.report.wording import duration, standing, verdict

EVIL = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>\x00\ud800"


def system(name: str, value: float, low: float | None = None, high: float | None = None, metric: str = "accuracy"):
    return System(name=name, rows=100, scores={metric: Score(value=value, low=low, high=high)}, seconds=1.0)


def facts(**changes) -> RunFacts:
    row = Row(
        where=f"t.csv:{EVIL}",
        inputs=[
            Shown(name=EVIL, kind="image", source="data:image/png;base64,AA==", note=EVIL),
            Shown(name="speech", kind="audio", source="data:audio/mpeg;base64,AA==", note=EVIL),
            Shown(name="question", kind="text", source=EVIL),
            Shown(name="gone", kind="text", source=None, note="absent"),
        ],
        expected=[EVIL, "b"],
        answer=EVIL,
        probability=0.25,
        score=1.0,
        alternatives=[(EVIL, 0.25), ("other", 0.2)],
    )
    item = Shown(name=EVIL, kind="text", source=EVIL)
    query = Query(
        where=EVIL, shown=[item], rank=7, right=[item], found=[Found(shown=[item], score=0.5, is_right=False)]
    )
    values = {
        "name": EVIL,
        "task": "answer",
        "run": EVIL,
        "command": f"sensorium train {EVIL}",
        "judged_on": "test",
        "metric": "accuracy",
        "lower_is_better": frozenset({"perplexity", "wer"}),
        "model": system("this model", 0.8, 0.7, 0.9),
        "baselines": [system(EVIL, 0.4), system("majority", 0.3)],
        "curves": {EVIL: [Curve(name=EVIL, points=[(0, 2.0), (10, 1.0)])]},
        "patterns": [system("photo", 0.8), system(EVIL, 0.2)],
        "contributions": [(EVIL, 0.5), ("b", -0.25)],
        "contribution_unit": EVIL,
        "confusion": Confusion(
            answers=[EVIL, "b"], counts=[[3, 0], [1, 2]], samples={(0, 0): [row], (1, 0): [row]}
        ),
        "best": [row],
        "worst": [row],
        "searches": [
            Search(
                query=EVIL,
                found="b",
                num_queries=3,
                num_candidates=9,
                metrics={"recall_at_1": 1 / 3, "median_rank": 2.0},
                rank_counts=[("1", 1), ("2–5", 2)],
                best=[query],
                worst=[query],
            )
        ],
        "left_out": {EVIL: 3},
        "bad_rows": [(EVIL, EVIL, EVIL)],
        "num_bad": 5,
        "about": {EVIL: EVIL},
        "digests": {EVIL: EVIL},
        "config": EVIL,
        "notes": [EVIL],
    }
    return RunFacts(**(values | changes))


class Checker(HTMLParser):
    """Collects tags and attributes, and that every element is closed in order."""

    EMPTY = {"br", "img", "meta", "link", "hr"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.ids: list[str] = []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += [(name, key, value) for key, value in attributes]
        self.ids += [value for key, value in attributes if key == "id"]
        if name not in self.EMPTY:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_nothing_in_a_row_becomes_html():
    page = write_page(facts())
    checker = checked(page)
    assert "script" not in checker.tags
    assert not any(key.startswith("on") for _, key, _ in checker.attributes)
    assert page.count("&lt;script&gt;") > 20
    assert "\x00" not in page
    page.encode("utf-8")


def test_the_page_asks_for_nothing_from_outside():
    checker = checked(write_page(facts()))
    for name, key, value in checker.attributes:
        if key in ("src", "href"):
            assert value.startswith(("data:", "#")), (name, value)
    (policy,) = [value for name, key, value in checker.attributes if key == "content" and "default-src" in value]
    assert policy.startswith("default-src 'none'")
    assert len(checker.ids) == len(set(checker.ids))
    for name, key, value in checker.attributes:
        if name == "a" and key == "href":
            assert value.removeprefix("#") in checker.ids
    images = checker.tags.count("img")
    assert images == sum(name == "img" and key == "alt" and bool(value) for name, key, value in checker.attributes)


def test_a_run_with_nothing_but_a_metric_has_a_page():
    page = write_page(
        facts(
            baselines=[], curves={}, patterns=[], contributions=[], confusion=None, best=[], worst=[], left_out={},
            bad_rows=[], num_bad=0, about={}, digests={}, notes=[],
        )
    )  # fmt: skip
    checked(page)
    assert "there is no baseline" in page
    assert "No row was left out" in page


@given(st.text())
def test_escaped_text_is_read_back(text):
    class Reader(HTMLParser):
        seen = ""

        def handle_data(self, data):
            self.seen += data

    reader = Reader()
    reader.feed(tag("p", text))
    reader.close()
    clean = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert reader.seen == clean


def test_only_markup_stays_as_it_is():
    assert tag("p", Markup("<b>x</b>"), "<b>", [1, None, "&"]) == "<p><b>x</b>&lt;b&gt;1&amp;</p>"
    assert escape('"') == "&quot;"
    assert tag("td", class_='a"b', hidden=True, title=None, aria_label="x") == (
        '<td class="a&quot;b" hidden aria-label="x"></td>'
    )


@pytest.mark.parametrize(
    ("model", "baseline", "metric", "expected"),
    [
        ((0.8, 0.7, 0.9), 0.4, "accuracy", "better"),
        ((0.8, 0.7, 0.9), 0.75, "accuracy", "open"),
        ((0.8, 0.7, 0.9), 0.95, "accuracy", "worse"),
        ((0.2, 0.1, 0.3), 0.4, "wer", "better"),
        ((0.2, 0.1, 0.3), 0.05, "wer", "worse"),
        ((0.8, None, None), 0.4, "accuracy", "open"),
    ],
)
def test_a_verdict_claims_what_the_interval_holds(model, baseline, metric, expected):
    found = facts(
        metric=metric,
        model=system("this model", *model, metric=metric),
        baselines=[system("x", baseline, metric=metric)],
    )
    assert standing(found) == expected
    assert ("better than every baseline" in verdict(found)) == (expected == "better")
    assert ("simpler system does better" in verdict(found)) == (expected == "worse")


@pytest.mark.parametrize(
    ("mean", "p", "expected"), [(0.05, 0.01, "better"), (0.05, 0.3, "open"), (-0.05, 0.01, "worse")]
)
def test_a_verdict_rests_on_the_paired_test_where_there_is_one(mean, p, expected):
    """The baseline lies inside the model's interval, which says nothing of the same rows' differences."""
    paired = replace(system("x", 0.8 - mean), gain=Gain(mean=mean, low=mean - 0.01, high=mean + 0.01, p=p))
    found = facts(model=system("this model", 0.8, 0.7, 0.9), baselines=[paired])
    assert standing(found) == expected
    assert f"paired test, p = {p}" in verdict(found)
    assert ("better than every baseline" in verdict(found)) == (expected == "better")
    unpaired = facts(model=found.model, baselines=[paired, system("y", 0.1)])
    assert "better than every baseline" not in verdict(unpaired)


def test_an_interval_of_a_handful_of_rows_tells_nothing_apart():
    model = replace(system("this model", 1.0, 1.0, 1.0), rows=5)
    found = facts(model=model, baselines=[system("x", 0.0)])
    assert standing(found) == "open"
    assert "better" not in verdict(found)
    assert standing(facts(model=replace(model, rows=6), baselines=found.baselines)) == "better"


def test_no_time_is_told_of_what_was_not_fitted_by_itself():
    model = replace(system("this model", 0.8, 0.7, 0.9), seconds=61.0)
    part, alone = (replace(system(n, 0.4), seconds=s) for n, s in (("transformer alone", None), ("x only", 6.0)))
    assert "fitted for" not in verdict(facts(model=model, baselines=[part]))
    assert "fitted for 6.0 s, the model for 61 s" in verdict(facts(model=model, baselines=[alone]))


def test_the_best_baseline_of_an_error_rate_is_the_lowest():
    found = facts(
        metric="wer",
        model=system("this model", 0.2, 0.1, 0.3, metric="wer"),
        baselines=[system("high", 0.9, metric="wer"), system("low", 0.4, metric="wer")],
    )
    assert "low, reaches" in verdict(found)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
@example(5e-324, 5e-324)
@example(1e6, 1e6 + 1e-9)
@example(0.0, 0.0)
@example(0.0, 5e-324)
def test_ticks_are_round_and_span_the_values(a, b):
    low, high = min(a, b), max(a, b)
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 12
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= high - 1e-6 * step
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(mantissa == pytest.approx(m, rel=1e-3) for m in (1, 2, 5, 10))


def test_a_chart_draws_its_points_where_they_belong():
    chart = line_chart([Curve(name="a", points=[(0, 0.0), (100, 4.0)])], x_label="steps", title="t")
    (points,) = re.findall(r'<polyline points="([^"]*)"', chart)
    (x0, y0), (x1, y1) = [tuple(map(float, pair.split(","))) for pair in points.split()]
    assert x0 < x1
    assert y0 > y1  # up is more
    assert "from 0 to 4, lowest 0" in chart


def test_long_curves_are_thinned_to_their_means():
    points = [(float(i), float(i % 2)) for i in range(3000)]
    thin = thinned(points)
    assert len(thin) <= 300
    assert all(y == 0.5 for _, y in thin)
    assert thinned(points[:10]) == points[:10]


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), min_size=1), st.integers(1, 8))
def test_confusions_count_every_row_once(pairs, most):
    right, said = [r for r, _ in pairs], [s for _, s in pairs]
    names, counts, cells, num_folded = confuse(right, said, most)
    assert sum(map(sum, counts)) == len(pairs)
    assert sorted(row for rows in cells.values() for row in rows) == list(range(len(pairs)))
    assert (names[-1] == OTHERS) == (num_folded > 0)
    assert len(names) - (num_folded > 0) + num_folded == len({*right, *said})
    for i, name in enumerate(names):
        if name != OTHERS:
            assert sum(counts[i]) == right.count(name)
            assert sum(line[i] for line in counts) == said.count(name)
            assert counts[i][i] == sum(r == s == name for r, s in pairs)


def test_times_are_written_for_people():
    assert [duration(s) for s in (0.42, 75, 250, 7500)] == ["0.4 s", "75 s", "4 min", "2 h 05 min"]


def test_a_pretraining_page_says_what_the_other_inputs_gave():
    scores = [ObjectiveScore(objective=EVIL, measure="loss", value=0.25, alone=0.75)]
    page = write_page(facts(objectives=scores, baselines=[]))
    checked(page)
    assert '<section id="objectives"' in page
    assert "0.25 (alone 0.75)" in page
    assert "Pretrained" in page


def test_a_page_of_retrieval_shows_shares_and_ranks():
    page = write_page(facts())
    assert '<section id="ranks"' in page
    assert "33.3\u00a0%" in page
    assert "rank 2–5" in page
