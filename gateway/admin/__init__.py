"""The admin server: health, metrics, dashboard; and the control socket."""
