"""Where an answer came from: which scorer."""
