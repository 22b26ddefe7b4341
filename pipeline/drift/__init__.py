"""Whether new patients look like those whom the models learned from: a test that exchanges patients, never images.

May import `images`, `names` and `common`.
"""
