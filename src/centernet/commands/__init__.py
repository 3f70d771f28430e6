"""The commands of the command line, one module each: NAME, HELP, DESCRIPTION, add_flags(parser),
run(arguments) -> exit status.

Imports of torch, OpenCV and what needs them are inside ``run``.
"""
