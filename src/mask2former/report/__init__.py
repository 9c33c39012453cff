"""What a run leaves behind for people: figures, curves, pictures."""
