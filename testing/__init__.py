"""What test.py scores."""
