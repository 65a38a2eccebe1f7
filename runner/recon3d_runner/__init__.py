"""The runner: six axis views in, a validated textured mesh out. Importing it needs no torch."""
