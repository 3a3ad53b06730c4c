"""`kidneyseg-search`: studies, from the first trial to the exported one; a command per file."""
