"""What a model repository on the Hub holds besides the weights, so that it loads where auss is not installed."""
