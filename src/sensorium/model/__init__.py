"""Assembles encoders, fusion and scorers from a config; saves and loads them."""
