"""A real face -> a self-made fake, so that a detector can be trained from real faces alone."""
