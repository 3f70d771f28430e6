"""What a user can ask for: records of options, declared once. Nothing here imports torch, OpenCV or NumPy."""
