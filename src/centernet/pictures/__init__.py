"""Pictures and videos of one's own: found, detected on, drawn, and listed in files."""
