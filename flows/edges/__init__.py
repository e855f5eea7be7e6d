"""Where events come in and results go out, one file per kind of edge."""
