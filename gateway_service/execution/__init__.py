"""Running a registered release for a caller."""
