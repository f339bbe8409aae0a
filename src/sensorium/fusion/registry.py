"""Every fusion by name; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.fusions"

FUSIONS: dict[str, str] = {
    "concat": "sensorium.fusion.concat:Concat",
    "sum": "sensorium.fusion.sum:Sum",
    "gated": "sensorium.fusion.gated:Gated",
    "mlp": "sensorium.fusion.mlp:MLP",
    "cross_attention": "sensorium.fusion.cross_attention:CrossAttention",
    "tensor": "sensorium.fusion.tensor:TensorFusion",
    "low_rank": "sensorium.fusion.low_rank:LowRank",
    "co_attention": "sensorium.fusion.co_attention:CoAttention",
    "joint_transformer": "sensorium.fusion.joint_transformer:JointTransformer",
    "bottleneck": "sensorium.fusion.bottleneck:Bottleneck",
    "perceiver": "sensorium.fusion.perceiver:Perceiver",
    "graph": "sensorium.fusion.graph:Graph",
    "film": "sensorium.fusion.film:Film",
}
