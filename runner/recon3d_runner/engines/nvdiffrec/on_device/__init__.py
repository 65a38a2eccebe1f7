"""The two passes in torch, for a rasteriser that keeps its images on a device; the same sums as NumPy's.

Sums that many threads make at once are sums of integers (sums.py), so that the order does not matter: the same
input gives the same bytes on the same device.
"""
