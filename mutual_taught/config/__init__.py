"""`params.yaml`: its blocks, presets and overrides."""
