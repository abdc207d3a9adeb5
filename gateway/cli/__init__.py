"""Commands: thin, one file each; they parse arguments and print."""
