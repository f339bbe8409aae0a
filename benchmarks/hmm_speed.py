"""EM of a hidden Markov model: frame-iterations a second, ours and hmmlearn's scaling implementation in turn.

    python benchmarks/hmm_speed.py         needs hmmlearn

Both start from the same numbers and run the same iterations on the same sequences; log-likelihoods are compared.
Time is processor time of one thread, which a busy machine stretches less than the clock's.
32 states; sequences of unequal length; ids, Gaussian vectors, and few long sequences, which suit us least.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import record
import torch
from hmmlearn import hmm as hmmlearn

from sensorium.markov.emissions import Categorical, Gaussians
from sensorium.markov.estimation import Frames, baum_welch
from sensorium.markov.model import HMM

STATES, FEATURES, IDS, ITERATIONS, REPEATS = 32, 13, 100, 4, 5
CASES = {
    "gaussian, 500 sequences": ("gaussian", 500),
    "categorical, 500 sequences": ("categorical", 500),
    "gaussian, 20 sequences": ("gaussian", 20),
}


def shares(*shape: int) -> torch.Tensor:
    x = torch.rand(*shape, dtype=torch.float64) + 0.1
    return x / x.sum(-1, keepdim=True)


def data(kind: str, num_sequences: int, num_frames: int = 50_000) -> tuple[HMM, torch.Tensor, list[int]]:
    torch.manual_seed(0)
    mean = num_frames // num_sequences
    lengths = torch.randint(mean // 2, mean * 3 // 2, (num_sequences,)).tolist()
    chain = shares(STATES), shares(STATES, STATES)
    if kind == "categorical":
        return HMM(*chain, Categorical(shares(STATES, IDS))), torch.randint(IDS, (sum(lengths),)), lengths
    x = torch.randn(sum(lengths), FEATURES, dtype=torch.float64)
    gaussians = Gaussians(torch.randn(STATES, FEATURES).double(), torch.ones(STATES, FEATURES).double())
    return HMM(*chain, gaussians), x, lengths


def peer(kind: str, hmm: HMM) -> Any:
    options = {
        "n_components": STATES,
        "n_iter": ITERATIONS,
        "tol": -np.inf,
        "init_params": "",
        "implementation": "scaling",
    }
    if kind == "categorical":
        model: Any = hmmlearn.CategoricalHMM(n_features=IDS, **options)
        model.emissionprob_ = hmm.emissions.p_SV.numpy()
    else:
        model = hmmlearn.GaussianHMM(covariance_type="diag", covars_prior=0, min_covar=0, **options)
        model.means_, model.covars_ = hmm.emissions.mean_SF.numpy(), hmm.emissions.variance_SF.numpy()
    model.startprob_, model.transmat_ = hmm.start_S.numpy(), hmm.transition_SS.numpy()
    return model


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = run()
    return time.process_time() - started, result


def measure(kind: str, num_sequences: int) -> dict[str, float]:
    hmm, x, lengths = data(kind, num_sequences)
    x_np = x.numpy().reshape(len(x), -1)
    ours, theirs, gaps = [], [], []
    for _ in range(REPEATS):
        # hmmlearn runs ITERATIONS E-steps; ours ends with one more, to say what the last M-step gained.
        took, fit = timed(
            lambda: baum_welch(hmm, Frames(x, lengths, STATES), iterations=ITERATIONS - 1, tolerance=-np.inf)
        )
        ours.append(took)
        took, model = timed(lambda: peer(kind, hmm).fit(x_np, lengths))
        theirs.append(took)
        gaps.append(np.abs(np.array(fit.log_likelihoods) - np.array(model.monitor_.history)).max())
    work = len(x) * ITERATIONS
    return {
        "frames": len(x),
        "ours_frame_iterations_per_s": work / statistics.median(ours),
        "hmmlearn_frame_iterations_per_s": work / statistics.median(theirs),
        "times_hmmlearn": statistics.median(t / o for t, o in zip(theirs, ours, strict=True)),
        "largest_gap_of_log_likelihoods": float(max(gaps)),
    }


def main() -> None:
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    facts = {name: measure(*case) for name, case in CASES.items()}
    record.write("hmm_speed", {"states": STATES, "cases": facts})


if __name__ == "__main__":
    main()
