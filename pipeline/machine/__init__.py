"""The machine that numbers are worked out on, besides inputs and parameters the one thing that their last digits depend on.

May import `common`.
"""
