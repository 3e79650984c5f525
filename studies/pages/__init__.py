"""The report page: its elements and style, and its sections."""
