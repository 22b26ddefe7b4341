"""The synthetic cohort: patients, and cells drawn the same, to the last bit, on every machine.

Made anew when a drawing changes. Imports `common`, and that for the command line alone.
"""
