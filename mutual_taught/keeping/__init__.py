"""What stays on the disk, and what leaves the project."""
