"""A cohort of one's own, before anything has run on it: the settings written for it, and what they ask for in vain.

Only the command `init` imports it: nothing here changes a result. It may import every room but those that show or search.
"""
