"""One modality to Encoded: text, image, audio, statistical and neural side by side."""
