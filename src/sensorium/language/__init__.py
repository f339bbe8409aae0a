"""Next-token scorers: counted, neural, and mixtures of both."""
