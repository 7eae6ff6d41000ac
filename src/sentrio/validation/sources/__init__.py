"""What can be read, and how it is cut into morsels."""
