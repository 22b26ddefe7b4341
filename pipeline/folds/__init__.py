"""Who is in which fold, and which role a fold has in a training.

May import `common`. Nothing here looks at a pixel or a score.
"""
