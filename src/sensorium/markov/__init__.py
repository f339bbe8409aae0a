"""Hidden Markov models: inference, estimation and emissions, for the scorers and encoders that are built on them."""
