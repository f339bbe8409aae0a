"""Many Encoded to one Conditioning."""
