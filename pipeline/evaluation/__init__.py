"""Figures of merit of scores: pooling to patients, calibration, intervals, plots; the published figures beside them.

A change here trains nothing. `pooling` travels with registered models. May import `common`.
"""
