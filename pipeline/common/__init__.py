"""What every room may use and no result depends on: settings, paths, files, errors, the terminal, all cores.

Imports nothing of this package but itself.
"""
