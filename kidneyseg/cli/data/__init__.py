"""`kidneyseg`: data and one network; a command per file."""
