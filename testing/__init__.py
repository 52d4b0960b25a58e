"""What test.py and calibrate.py score."""
