"""The study: arms of the method on a frozen testbed, run unit by unit, measured and reported."""
