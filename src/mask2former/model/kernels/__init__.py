"""The same results by quicker ways: compiled loops, oneDNN, Winograd, folded norms."""
