"""`python -m mask2former`."""

from mask2former.cli import main

main()
