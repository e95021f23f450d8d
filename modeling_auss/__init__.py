"""The network: one file for each stage of the paper's Fig. 2. `modeling_auss.py` has the Transformers classes."""
