"""Public contract suites for components: check_scorer, check_encoder, check_fusion."""
