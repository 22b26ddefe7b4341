"""What the names of files and folders say: class, patient and image, the order of images, which files are images at all.

Read by `ingest`, by what checks the images, and by `predict`. Imports nothing of this package.
"""
