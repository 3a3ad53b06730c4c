"""Synthetic CT scans of the abdomen, with kidneys whose every voxel is known."""
