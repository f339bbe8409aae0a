"""Rows that share a medium, however remotely, are one group; groups are dealt whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.types import Media
from sensorium.data.groups import TEXTS, Grouping, Links, TieCollector, components
from sensorium.data.splits import fold_groups, part_groups


def links(pairs):
    row_E, content_E = np.array(pairs, np.int64).reshape(-1, 2).T
    return Links(row_E, content_E)


@given(st.lists(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), max_size=8), max_size=3))
def test_components_are_those_of_the_transitive_closure(inputs):
    reach = np.eye(8, dtype=bool)
    pairs = list(itertools.chain(*inputs))
    for (row, content), (other, same) in itertools.product(pairs, pairs):
        reach[row, other] |= content == same
    for _ in range(8):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    found = components(8, [links(one) for one in inputs if one])
    assert found.tolist() == reach.argmax(1).tolist()


def collected(rows, **sources):
    collector = TieCollector()
    for row in rows:
        collector.add(row)
    return collector.ties(**sources)


def photo(number: int) -> Media:
    return Media(data=b"photo %d" % number)


def test_every_item_of_every_input_ties_and_across_inputs(tmp_path):
    rows = [
        {"front": [photo(0), photo(1)], "back": [None]},
        {"front": [photo(2)], "back": [photo(1)]},
        {"front": [photo(3)], "back": [photo(2)]},
        {"front": [photo(4)], "back": [None]},
        {"front": [None], "back": [None]},
    ]
    strictest, *others = collected(rows).groupings()
    assert strictest.by == ("front", "back")
    assert strictest.group_N.tolist() == [0, 0, 0, 3, 4]
    assert [one.by for one in others] == [("front",), ("back",), ()]
    assert others[-1].group_N.tolist() == [0, 1, 2, 3, 4]


def test_equal_texts_tie_rows_without_media_unless_texts_repeat_by_nature():
    rows = [{"title": ["A  Dog"], "body": [f"no. {i}"]} for i in range(6)] + [
        {"title": ["a dog"], "body": ["NO. 2"]}
    ]
    ties = collected(rows)
    assert ties.links.keys() == {TEXTS}
    assert next(ties.groupings()).group_N.tolist() == [0, 1, 2, 3, 4, 5, 2]
    short = [{"question": [text]} for text in ["is it red?", "is it green?"] * 20]
    assert not collected(short).links
    with_photo = [{"photo": [photo(i)], "question": ["is it red?"]} for i in range(4)]
    assert next(collected(with_photo).groupings()).group_N.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("num_contents", "is_by_content"), [(30, True), (15, True), (10, True), (3, False)])
def test_where_hardly_any_file_is_another_one_files_are_known_by_their_place(tmp_path, num_contents, is_by_content):
    rows = []
    for i in range(30):
        path = Path(tmp_path / f"{i}.png")
        path.write_bytes(b"%d" % (100 + i % num_contents))
        rows += [{"photo": [Media(path=path)]}] * 2
    groups = next(collected(rows).groupings()).size_G
    assert len(groups) == (num_contents if is_by_content else 30)


def grouping(sizes, by=("photo",)):
    return Grouping(by, np.repeat(np.cumsum([0, *sizes[:-1]]), sizes))


def keys(num_rows):
    return [str(i) for i in range(num_rows)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sizes", [[20, 20, 20], [90, 10], [1, 1, 1, 57], [200, *[1] * 40], [5] * 60, [1] * 7])
def test_groups_stay_whole_and_each_side_has_rows(sizes, seed):
    groups = grouping(sizes)
    parting = part_groups([groups, grouping([1] * sum(sizes), ())], keys(sum(sizes)), 0.1, seed=seed)
    assert parting.grouping is groups
    held = parting.is_held_N
    assert 0 < held.mean() <= 0.5
    assert not set(groups.group_N[held]) & set(groups.group_N[~held])
    if len(sizes) > 3:
        assert 0.05 <= held.mean() <= 0.2


def test_what_ties_too_many_rows_is_passed_over_for_the_next_best():
    giant, by_photo, alone = grouping([100]), grouping([5] * 20), grouping([1] * 100, ())
    parting = part_groups([giant, by_photo, alone], keys(100), 0.1, seed=0)
    assert parting.grouping is by_photo
    assert parting.passed_over == (giant,)
    assert part_groups([giant, alone], keys(100), 0.1, seed=0).grouping is alone


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(2, 6))
def test_folds_are_whole_groups_of_like_size(sizes, num_folds):
    groups = grouping(sizes)
    fold_N, taken = fold_groups([groups, grouping([1] * sum(sizes), ())], keys(sum(sizes)), num_folds)
    if max(sizes) > 0.75 * sum(sizes):
        assert taken.by == ()
        return
    assert taken is groups
    assert sorted(set(fold_N.tolist())) == list(range(min(num_folds, len(sizes))))
    for first in set(groups.group_N.tolist()):
        assert len(set(fold_N[groups.group_N == first].tolist())) == 1
    counts = np.bincount(fold_N)
    assert counts.max() - counts.min() <= max(sizes)


@pytest.mark.parametrize("seed", range(3))
def test_another_order_of_rows_divides_them_alike(seed):
    names = [f"row {i}" for i in range(60)]
    photo_of = {name: photo(i % 17) for i, name in enumerate(names)}
    other_of = {name: photo(100 + i % 23) if i % 5 == 0 else None for i, name in enumerate(names)}

    def held(order):
        ties = collected([{"photo": [photo_of[name]], "other": [other_of[name]]} for name in order])
        is_held_N = part_groups(ties.groupings(), order, 0.2, seed=seed).is_held_N
        return {name for name, is_held in zip(order, is_held_N, strict=True) if is_held}

    assert held(names) == held(list(np.random.default_rng(seed).permutation(names)))


@pytest.mark.parametrize("seed", range(3))
def test_another_order_of_rows_is_dealt_to_the_same_folds(seed):
    names = [f"row {i}" for i in range(60)]
    photo_of = {name: photo(i % 17) for i, name in enumerate(names)}

    def dealt(order):
        ties = collected([{"photo": [photo_of[name]]} for name in order])
        fold_N, _ = fold_groups(ties.groupings(), order, 4)
        return dict(zip(order, fold_N.tolist(), strict=True))

    assert dealt(names) == dealt(list(np.random.default_rng(seed).permutation(names)))
