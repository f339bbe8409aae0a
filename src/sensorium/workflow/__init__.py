"""Whole jobs: train, evaluate, predict, from a config and tables to a run folder."""
