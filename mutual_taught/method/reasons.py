"""Why a preference pair is dropped."""

GOLD_TIE = "gold_tie"  # of a pair whose sides follow as many instructions
CUT = "cut"  # of a ranked pair: too few of the prompt's responses ended by themselves
UNSCORED = "unscored"  # the reason of a pair with too few rewards
