"""The containers that photos come in, walked part by part: each walker yields its parts with their offsets in the file.

A walker takes `strict`. Without it the walk passes over what decoders pass over: that is how a photo is read. With it
the first byte that breaks the format ends the walk: metadata is stripped only from a file that is understood whole.
Either way `TruncatedPhotoError` means that the bytes end before the picture does, and no walk goes past `MAX_PARTS`.
"""
