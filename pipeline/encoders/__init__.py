"""Encoders: what makes one vector of an image, by weights that no training here touches.

May import `common` and `machine`. It knows neither files of images nor patients.
"""
