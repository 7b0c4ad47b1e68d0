"""Parsers of photo containers. Each parser iterates over the parts of a file with their offsets.

A parser that is not `strict` tolerates what decoders tolerate: it is used to read photos. A strict parser raises an
error at the first byte that violates the format: metadata is only stripped from valid files. Both raise
`TruncatedPhotoError` when the bytes end before the picture does, and `MalformedPhotoError` after `MAX_PARTS` parts.
"""
