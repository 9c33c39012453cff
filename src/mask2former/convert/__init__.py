"""Weights of other implementations <-> ours.

`rows` reads tables of names in both directions; `official`, `huggingface` and `openmmlab` are the
tables. `read` and `pickles` take tensors out of files without running anything of them; `network`
and `recognise` tell what they are; `hub_folder` reads and writes transformers' folders.
"""
