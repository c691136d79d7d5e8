"""Time series: tables read as regular series, scaling, and windows over them."""
