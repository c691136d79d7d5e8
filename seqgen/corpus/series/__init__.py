"""Tables of numbers read as regular time series, and windows over them."""
