"""What several test files share; imported as ``support.<module>``."""
