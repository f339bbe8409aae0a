"""Metrics, the runner, and the baselines beside every run."""
