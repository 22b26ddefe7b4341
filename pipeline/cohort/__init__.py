"""A cohort as it is delivered: folder or archive, download, the patients and their metadata, pseudonyms.

May import `common` and `images` (the names of image files).
"""
