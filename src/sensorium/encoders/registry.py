"""Every encoder by 'modality.name'; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.encoders"

ENCODERS: dict[str, str] = {}
