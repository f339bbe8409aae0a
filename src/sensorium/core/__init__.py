"""Types, protocols and arithmetic that every room shares; imports nothing of ours."""
