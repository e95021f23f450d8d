"""The paper's ablations (Tables 3-6) as configurations, the command that runs them, and the paper's figures."""
