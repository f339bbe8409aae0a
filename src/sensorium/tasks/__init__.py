"""One file a task: how a request is decoded and which metrics judge it."""
