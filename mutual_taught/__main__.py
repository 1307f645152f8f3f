"""`python -m mutual_taught` is the console command `mutual-taught`."""

from mutual_taught.cli import main

main()
