"""The network, a file for each stage of the paper's Fig. 2, and `modeling_auss.py` with the Transformers classes."""
