"""The run's report: one offline HTML page, and the Markdown card of its model."""
