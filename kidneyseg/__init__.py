"""Kidney segmentation in CT, and the search for its hyper-parameters."""

__version__ = "0.1.0"
