"""Language models as judges: how they are asked, what they say, and what follows from it."""
