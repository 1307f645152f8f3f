"""The version of what stages write: the one carrier that every stage depends on.

Raise it when an edit of another carrier (tests/imports.py) changes what a stage writes, or how it
is read: a column, the metadata, a manifest. Then every stage runs again, and what was written
before is refused.
"""

VERSION = "3"
