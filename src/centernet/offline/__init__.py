"""A network that runs elsewhere: its inputs as files, its outputs as files, and what their differences mean.

:mod:`.dump` writes the inputs of a data set in the form that a device's tool reads (:mod:`.layouts`), with a
:mod:`.manifest` and the outputs of the checkpoint for the first images (:mod:`.reference`). On the device,
the tool or :mod:`.run_device` runs the network. :mod:`.finding` finds the tool's files, :mod:`.reading` reads
them, :mod:`.roles` tells which output is which, and :mod:`.judge` evaluates them with the loop of every other
network. :mod:`.explain` says what a device does differently.

This imports nothing, so that the command line can offer the layouts quickly.
"""
