"""DPO and reward training over packed pairs, in one process or several."""
