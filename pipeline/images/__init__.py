"""One image file: whether it is usable, its pixels, what they say; the manifest of all files; pictures that are copies.

`decoding` travels with registered models and imports nothing of this package. The others may import `common`.
"""
