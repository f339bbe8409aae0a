"""Fitting by gradient: the loop, checkpoints, exact resume."""
