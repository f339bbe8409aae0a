"""Hidden Markov models, which scorers and encoders are built on: inference, estimation, emissions, word models."""
