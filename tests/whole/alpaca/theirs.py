"""Run AlpacaEval's own function on files: `python theirs.py annotations.json df_gamed.csv`.

It runs in an environment without this project, so it imports nothing of ours. The function fetches
df_gamed.csv from the hub; here it gets the file that is named.
"""

import json
import sys

import pandas as pd
from alpaca_eval.metrics import glm_winrate

annotations, gamed = sys.argv[1:]
glm_winrate.hf_hub_download = lambda **_: gamed
found = glm_winrate.get_length_controlled_winrate(
    pd.read_json(annotations, dtype=False),
    save_weights_dir=None,
    is_add_glm_preference_inplace=False,
    is_warn_extreme_changes=False,
)
print(json.dumps({name: float(value) for name, value in found.items()}))
