"""What the compiler is made of: points, templates and blocks checked and put in their places."""
