"""Photos: type and header, decoding, downscaling, integrity checks and removal of metadata."""
