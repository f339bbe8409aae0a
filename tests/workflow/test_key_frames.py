"""Key frames: the objective is monotone and submodular, and greedy keeps its guarantee."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.workflow.key_frames import Objective, greedy, segment_starts

FEATURES = st.integers(1, 8).flatmap(
    lambda num: st.lists(
        st.lists(st.floats(-2, 2, allow_subnormal=False), min_size=3, max_size=3), min_size=num, max_size=num
    )
)


@settings(max_examples=60)
@given(FEATURES, st.integers(1, 4))
def test_monotone_submodular_and_within_the_guarantee_of_the_best(rows, num):
    objective = Objective.of(np.array(rows), parts=3)
    everything = range(len(rows))
    sets = [list(s) for size in range(len(rows) + 1) for s in itertools.combinations(everything, size)]
    value = {frozenset(s): objective(s) for s in sets}
    for held in map(frozenset, sets[:: max(1, len(sets) // 40)]):
        for k in set(everything) - held:
            gain = value[held | {k}] - value[held]
            assert gain >= -1e-9, "a further picture never lowers F"
            for less in (held - {j} for j in held):
                assert value[less | {k}] - value[less] >= gain - 1e-9, "and adds no more to a larger set"
    best = max(v for s, v in value.items() if len(s) <= num)
    assert objective(greedy(objective, num)) >= (1 - 1 / math.e) * best - 1e-9


def test_three_scenes_give_three_key_frames_and_their_cuts():
    random = np.random.default_rng(0)
    scenes = random.normal(size=(3, 6))
    x_KF = np.concatenate([np.tile(scenes[i], (n, 1)) for i, n in enumerate((5, 9, 4))])
    x_KF += 0.01 * random.normal(size=x_KF.shape)
    chosen = greedy(Objective.of(x_KF), 3)
    assert [k < 5 for k in chosen] == [True, False, False]
    assert [5 <= k < 14 for k in chosen] == [False, True, False]
    assert segment_starts(x_KF, chosen) == [0, 5, 14]


def test_a_still_has_one_key_frame():
    assert greedy(Objective.of(np.ones((6, 3))), 4) == [0]
    assert greedy(Objective.of(np.ones((1, 3))), 4) == [0]


def test_novelty_decides_between_pictures_of_equal_coverage():
    x_KF = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert greedy(Objective.of(x_KF, weight=1.0), 1) == [2], "the first picture of what is new"
