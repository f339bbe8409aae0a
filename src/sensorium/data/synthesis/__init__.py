"""Media made from text, where a demo or an augmentation needs them."""
