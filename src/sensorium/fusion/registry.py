"""Every fusion by name; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.fusions"

FUSIONS: dict[str, str] = {
    "concat": "sensorium.fusion.concat:Concat",
    "sum": "sensorium.fusion.sum:Sum",
    "gated": "sensorium.fusion.gated:Gated",
    "mlp": "sensorium.fusion.mlp:MLP",
    "cross_attention": "sensorium.fusion.cross_attention:CrossAttention",
}
