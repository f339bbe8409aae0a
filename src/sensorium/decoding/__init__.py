"""From any Scorer to token ids: one loop, search, filters."""
