"""Pages that people read; those made from the code are made by docs.generate."""
