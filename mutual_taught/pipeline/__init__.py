"""What every stage uses around its work: resume, locks, devices, costs."""
