"""Every encoder by 'modality.name'; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.encoders"

ENCODERS: dict[str, str] = {
    "text.bag_of_words": "sensorium.encoders.text_bag_of_words:TextBagOfWords",
    "text.tfidf": "sensorium.encoders.text_tfidf:TextTfidf",
    "text.embedding": "sensorium.encoders.text_embedding:TextEmbedding",
    "text.rnn": "sensorium.encoders.text_rnn:TextRNN",
    "text.lstm": "sensorium.encoders.text_lstm:TextLSTM",
    "text.gru": "sensorium.encoders.text_gru:TextGRU",
    "text.cnn": "sensorium.encoders.text_cnn:TextCNN",
    "text.transformer": "sensorium.encoders.text_transformer:TextTransformer",
    "text.token_features": "sensorium.encoders.text_token_features:TextTokenFeatures",
    "text.token_features_lstm": "sensorium.encoders.text_token_features_lstm:TextTokenFeaturesLSTM",
    "text.hmm": "sensorium.encoders.text_hmm:TextHMM",
    "text.naive_bayes": "sensorium.encoders.text_naive_bayes:TextNaiveBayes",
    "image.cnn": "sensorium.encoders.image_cnn:ImageCNN",
    "image.vgg16": "sensorium.encoders.image_vgg16:ImageVGG16",
    "image.resnet18": "sensorium.encoders.image_resnet18:ImageResNet18",
    "image.resnet50": "sensorium.encoders.image_resnet50:ImageResNet50",
    "image.vit": "sensorium.encoders.image_vit:ImageViT",
    "image.packaged": "sensorium.encoders.image_packaged:ImagePackaged",
    "image.words": "sensorium.encoders.image_words:ImageWords",
    "audio.dnn": "sensorium.encoders.audio_dnn:AudioDNN",
    "audio.cnn": "sensorium.encoders.audio_cnn:AudioCNN",
    "audio.cnn2d": "sensorium.encoders.audio_cnn2d:AudioCNN2d",
    "audio.gru": "sensorium.encoders.audio_gru:AudioGRU",
    "audio.conformer": "sensorium.encoders.audio_conformer:AudioConformer",
    "audio.words": "sensorium.encoders.audio_words:AudioWords",
    "audio.hmm": "sensorium.encoders.audio_hmm:AudioHMM",
}
