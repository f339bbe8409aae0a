"""Every encoder by 'modality.name'; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.encoders"

ENCODERS: dict[str, str] = {
    "text.gru": "sensorium.encoders.text_gru:TextGRU",
    "text.transformer": "sensorium.encoders.text_transformer:TextTransformer",
    "image.cnn": "sensorium.encoders.image_cnn:ImageCNN",
}
