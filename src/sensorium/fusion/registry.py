"""Every fusion by name; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.fusions"

FUSIONS: dict[str, str] = {
    "concat": "sensorium.fusion.concat:Concat",
    "mlp": "sensorium.fusion.mlp:MLP",
}
