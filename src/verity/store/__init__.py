"""What a device keeps: its home folder, its SQLite database, models and other blobs by digest."""
