"""What prepare.py's work is made of: media searched for faces on many processes, rows of them."""
