"""A network that runs elsewhere: inputs out, outputs back, and what their differences mean.

:mod:`.dump` writes the inputs of a data set in the form that a device's tool reads (:mod:`.layouts`), with a
:mod:`.manifest` and the outputs of the checkpoint for the first images (:mod:`.reference`). On the device,
the tool or :mod:`.run_device` runs the network. :mod:`.tools` finds the files of each tool and reads them,
:mod:`.order` decides which output is which head, and :mod:`.outputs` gives them image by image, ready to
decode. :mod:`.judge` compares them with the checkpoint, and :mod:`.explain` says what a device does
differently, by the list in :mod:`.mistakes`.

This imports nothing, so that the command line can offer the layouts quickly.
"""
