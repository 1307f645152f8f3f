"""`python -m mutual_taught.cli` is the console command `mutual-taught`, too."""

from mutual_taught.cli import main

main()
