"""Speed, as ratios against a named reference in the same run: the machine is noisy."""
