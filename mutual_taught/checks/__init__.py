"""What must hold of a model before work is done: it refuses, and decides no result.

A model's files, tokenizer and template are looked at. Then our own ways (packed rows, sampling from
shared beginnings, rewards read at a branch's last token) are compared with a plain forward pass of
transformers: eager attention, float32, one sequence at a time. What cannot be read packed is read
in whole sequences, if that agrees; else it is refused.
"""
