"""Every next-token scorer by name; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.scorers"

SCORERS: dict[str, str] = {}
