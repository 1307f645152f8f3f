"""Why a preference pair is dropped."""

UNSCORED = "unscored"  # the reason of a pair with too few rewards
