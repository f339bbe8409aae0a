"""The demo: a model that looks at pictures and answers typed or spoken questions, in a few minutes."""
