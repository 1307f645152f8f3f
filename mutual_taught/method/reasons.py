"""Why a preference pair is dropped."""

GOLD_TIE = "gold_tie"  # of a pair whose sides follow as many instructions
UNSCORED = "unscored"  # the reason of a pair with too few rewards
