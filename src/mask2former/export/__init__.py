"""From a network to one file that runs without PyTorch, proved against PyTorch."""
