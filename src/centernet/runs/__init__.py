"""A run: predict over a source, score against annotations, present; its record, its folder and its
journal."""
