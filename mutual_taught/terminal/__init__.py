"""How every process speaks: on any terminal, without telemetry, with bars and in one line."""
