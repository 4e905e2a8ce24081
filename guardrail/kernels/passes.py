"""What a pass of a model costs beside the positions that it runs."""

WEIGHTS_READ = 24
"""Positions that a processor computes in the time in which it reads the weights once, about: a pass less pays for so many
positions of padding. Of 86 GFLOP/s and 10 GB/s 17 would follow, whatever the model is; scoring has other fixed costs, too."""
