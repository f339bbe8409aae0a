"""Untrusted bytes to arrays: the only room that opens media files or codecs."""
