"""The other scores that the HybridGrad paper compares itself with (arXiv 2605.04638, table 1), behind the same protocol."""
