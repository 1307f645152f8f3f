"""Benchmarks: one command, one table each. Nothing reports on them: trl, which would, is told here.

It looks for that when it is imported, which the modules of this package do at once.
"""

from mutual_taught.terminal.process import quiet

quiet()
