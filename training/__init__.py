"""What train.py's loop is made of: its rows, loss and schedule, how a run continues and stops."""
