"""Tables of rows to Sample to Batch: readers, tokenizers, preparers, caches, loading."""
