"""Every asset, its type and its place, as the API lists them."""
