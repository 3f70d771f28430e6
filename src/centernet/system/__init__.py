"""Files, processes, devices, errors, versions of torch: what every room needs."""
