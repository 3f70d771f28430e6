"""Networks: a file that was opened, whatever it is and whatever runs it (:mod:`.network`,
:mod:`.runtimes`)."""
