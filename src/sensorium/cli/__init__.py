"""One short file a command; nothing here imports torch at import time."""
