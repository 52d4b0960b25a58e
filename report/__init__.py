"""What people look at: heatmaps, plots, the page of a test, and experiment tracking."""
