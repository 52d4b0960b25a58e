"""Downloads of collections: resumable, counted, and nothing half-finished under a final name."""
